"""What a person writes: pydantic models, YAML and `KEY=VALUE` overrides. Imports neither torch nor ray."""

from raykd.config.base import Mark
from raykd.config.choice import load_implementation
from raykd.config.cluster import ClusterConfig
from raykd.config.data import DataConfig, GeneratorConfig, UnlabeledConfig
from raykd.config.features import (
    FeaturesConfig,
    FeatureTermConfig,
    LayerTermConfig,
    RelationTermConfig,
)
from raykd.config.feedback import (
    CotangentFeedbackConfig,
    FeedbackConfig,
    IKDConfig,
    MetaDistilConfig,
    NoFeedbackConfig,
)
from raykd.config.load import changed_key, load, parse, save, settings
from raykd.config.model import ModelConfig
from raykd.config.objective import DISTConfig, DKDConfig, KLConfig, MSEConfig, ObjectiveConfig, PseudoLabelConfig
from raykd.config.run import RunConfig
from raykd.config.search import (
    ASHAConfig,
    GridSearchConfig,
    MedianConfig,
    NoSchedulerConfig,
    OptunaSearchConfig,
    PBTConfig,
    RandomSearchConfig,
    SchedulerConfig,
    SearcherConfig,
)
from raykd.config.study import RangeConfig, RepeatConfig, StudyConfig
from raykd.config.task import TaskConfig
from raykd.config.teachers import (
    EndpointTeacherConfig,
    FinetunedTeacherConfig,
    GivenTeacherConfig,
    MetaTeacherConfig,
    ModelTeacherConfig,
    MultiTaskTeacherConfig,
    TeacherConfig,
    TrainedTeacherConfig,
)
from raykd.config.titles import baseline_described, described, title_of
from raykd.config.trackers import TrackersConfig
from raykd.config.training import FinetuneConfig, OptimConfig, TrainConfig
from raykd.config.weighting import (
    FixedConfig,
    OracleConfig,
    PolicyConfig,
    RewardConfig,
    UniformConfig,
    WeightingConfig,
    baseline_rules,
)

__all__ = [
    "ASHAConfig",
    "ClusterConfig",
    "CotangentFeedbackConfig",
    "DISTConfig",
    "DKDConfig",
    "DataConfig",
    "EndpointTeacherConfig",
    "FeatureTermConfig",
    "FeaturesConfig",
    "FeedbackConfig",
    "FinetuneConfig",
    "FinetunedTeacherConfig",
    "FixedConfig",
    "GeneratorConfig",
    "GivenTeacherConfig",
    "GridSearchConfig",
    "IKDConfig",
    "KLConfig",
    "LayerTermConfig",
    "MSEConfig",
    "Mark",
    "MedianConfig",
    "MetaDistilConfig",
    "MetaTeacherConfig",
    "ModelConfig",
    "ModelTeacherConfig",
    "MultiTaskTeacherConfig",
    "NoFeedbackConfig",
    "NoSchedulerConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "OptunaSearchConfig",
    "OracleConfig",
    "PBTConfig",
    "PolicyConfig",
    "PseudoLabelConfig",
    "RandomSearchConfig",
    "RangeConfig",
    "RelationTermConfig",
    "RepeatConfig",
    "RewardConfig",
    "RunConfig",
    "SchedulerConfig",
    "SearcherConfig",
    "StudyConfig",
    "TaskConfig",
    "TeacherConfig",
    "TrackersConfig",
    "TrainConfig",
    "TrainedTeacherConfig",
    "UniformConfig",
    "UnlabeledConfig",
    "WeightingConfig",
    "baseline_described",
    "baseline_rules",
    "changed_key",
    "described",
    "load",
    "load_implementation",
    "parse",
    "save",
    "settings",
    "title_of",
]

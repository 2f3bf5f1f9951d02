"""What a person writes: pydantic models, YAML and `KEY=VALUE` overrides. Imports neither torch nor ray."""

from raykd.config.feedback import FeedbackConfig
from raykd.config.load import changed_key, load, parse, save
from raykd.config.model import ModelConfig, TeacherConfig
from raykd.config.run import (
    ClusterConfig,
    DataConfig,
    GeneratorConfig,
    ObjectiveConfig,
    RunConfig,
    TaskConfig,
)
from raykd.config.study import LIVE, RangeConfig, RepeatConfig, SchedulerConfig, StudyConfig
from raykd.config.trackers import TrackersConfig
from raykd.config.training import FinetuneConfig, OptimConfig, TrainConfig
from raykd.config.weighting import FITTED, RULES, RewardConfig, WeightingConfig

__all__ = [
    "FITTED",
    "LIVE",
    "RULES",
    "ClusterConfig",
    "DataConfig",
    "FeedbackConfig",
    "FinetuneConfig",
    "GeneratorConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "RangeConfig",
    "RepeatConfig",
    "RewardConfig",
    "RunConfig",
    "SchedulerConfig",
    "StudyConfig",
    "TaskConfig",
    "TeacherConfig",
    "TrackersConfig",
    "TrainConfig",
    "WeightingConfig",
    "changed_key",
    "load",
    "parse",
    "save",
]

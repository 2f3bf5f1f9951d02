"""A whole run: the top-level keys of a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from raykd.config.base import Mark, Name, Section, Seed
from raykd.config.cluster import ClusterConfig
from raykd.config.coupling import coupling_refusal
from raykd.config.data import DataConfig
from raykd.config.endpoint_refusal import endpoint_refusal
from raykd.config.ensemble import with_served_teachers
from raykd.config.feedback import AnyFeedback, CotangentFeedbackConfig, MetaDistilConfig, NoFeedbackConfig
from raykd.config.keys import nearest_of
from raykd.config.model import ModelConfig
from raykd.config.objective import AnyObjective, KLConfig
from raykd.config.study import StudyConfig
from raykd.config.study_keys import check_study
from raykd.config.task import TaskConfig
from raykd.config.teachers import AnyTeacher, TrainedTeacherConfig, check_target
from raykd.config.trackers import TrackersConfig
from raykd.config.training import TrainConfig
from raykd.config.weighting import (
    AnyWeighting,
    FixedConfig,
    OracleConfig,
    PolicyConfig,
    UniformConfig,
    WeightingConfig,
    baseline_rules,
)

HELD_OUT = 0.1
"""Share of the quiz (MetaDistil, section 3.2) or reward split, where it is needed and the configuration names none."""
BASELINES = ("alone", "in_loop", "labeled", "pseudo", "quiz_student", "quiz_teacher")
"""Baselines that are no weighting rule."""
UNLABELED_BASELINES = ("labeled", "pseudo")
"""Those that say what the rows without labels were worth."""
QUIZ_BASELINES = ("quiz_student", "quiz_teacher")
"""Those that say what the labels of the quiz were worth without feedback."""
EACH_DOMAIN = "each_domain"
"""In the context of a validation: data.target_domain is set later, once for each domain."""


class RunConfig(Section):
    """One distillation: teachers, student, data, and how the one is trained by the others."""

    # Built at the first use: a package that adds a type through an entry point may be the one that imports this.
    model_config = ConfigDict(defer_build=True)

    name: Annotated[Name, Mark.SHARED] = Field("run", description="names the folder runs/NAME")
    seed: Seed = Field(0, description="of the student's new weights, the order of rows and dropout")
    task: Annotated[TaskConfig, Mark.SHARED] = Field(TaskConfig(), description="what is learnt")
    data: Annotated[DataConfig, Mark.SHARED] = Field(description="where the rows come from")
    teachers: Annotated[list[AnyTeacher], Mark.SHARED] = Field(description="the ensemble")
    student: ModelConfig = Field(description="a hub name or folder, a fresh model, or a truncation")
    objective: AnyObjective = Field(KLConfig(), description="the loss")
    weighting: AnyWeighting = Field(UniformConfig(), description="how teachers are blended")
    feedback: AnyFeedback = Field(NoFeedbackConfig(), description="what teachers learn from the student")
    train: TrainConfig = Field(TrainConfig(), description="how the student is trained")
    baselines: Annotated[list[str], Mark.SHARED] = Field(
        [],
        description="alone: the student without a teacher; labeled: distilled on the rows with labels alone; pseudo:"
        " the teachers' answers as hard labels; quiz_student: frozen teachers, the quiz rows learnt from too;"
        " quiz_teacher: the teachers of the feedback, trained on the labels of the quiz rows instead and then frozen;"
        " in_loop: its teachers called in its own loop; the name of a weighting rule: frozen teachers blended by it",
        examples=[["alone", "labeled", "uniform"]],
    )
    study: Annotated[StudyConfig | None, Mark.SHARED] = Field(
        None, description="a search over configurations: raykd study"
    )
    trackers: Annotated[TrackersConfig, Mark.SHARED, Mark.PLACEMENT] = Field(
        TrackersConfig(), description="where metrics are sent, of a run or a study"
    )
    parity_rows: Annotated[int, Mark.SHARED] = Field(
        8, ge=0, description="rows that each teacher answers twice, served and locally; 0: none"
    )
    cluster: Annotated[ClusterConfig, Mark.SHARED, Mark.PLACEMENT] = Field(
        ClusterConfig(), description="where things run"
    )
    cache: Annotated[Path, Mark.SHARED, Mark.PLACEMENT] = Field(
        Path("~/.cache/raykd"), description="corpora, prepared teachers and soft targets; shared storage on a cluster"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_served_teachers(cls, value: Any) -> Any:
        """Puts the teachers of served ensembles in place of `{ensemble: NAME}`."""
        if not isinstance(value, dict) or not isinstance(value.get("teachers"), list):
            return value
        cache = Path(value.get("cache") or cls.model_fields["cache"].default).expanduser().resolve()
        return {**value, "teachers": with_served_teachers(value["teachers"], cache)}

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> RunConfig:
        if not self.teachers:
            raise ValueError("teachers: at least one is needed")
        names = self.teacher_names
        if len(set(names)) < len(names):
            raise ValueError(f"teachers: two have the same name among {', '.join(names)}")
        if not (info.context or {}).get(EACH_DOMAIN):
            check_target(zip(names, self.teachers, strict=True), self.data.target_domain)
        self._check_baselines()
        self._check_objective()
        self._check_weighting()
        self._check_feedback()
        self._check_features()
        if (refusal := endpoint_refusal(self)) is not None:
            raise ValueError(refusal)
        if self.data.train is None:
            self._check_without_labels()
        check_study(self)
        return self

    def _check_baselines(self) -> None:
        known = [*BASELINES, *baseline_rules()]
        for name in self.baselines:
            if name not in known:
                raise ValueError(f"baselines: there is none named {name!r} ({nearest_of(known, name)})")
            if name in UNLABELED_BASELINES and self.data.unlabeled is None:
                raise ValueError(f"baselines: {name} is about rows without labels: set data.unlabeled")
            if name in QUIZ_BASELINES and not self.feedback.needs_quiz:
                raise ValueError(f"baselines: {name} is about the quiz of a feedback, and there is none")
        if "quiz_teacher" in self.baselines and not self.learning_teachers:
            raise ValueError("baselines: quiz_teacher trains the teachers of feedback.teachers, and there are none")
        if "quiz_student" in self.baselines and self.objective.alpha == 1 and not self.weighting.reads_labels:
            mend = "leave it out" if self.data.train is None else "leave it out, or lower objective.alpha"
            raise ValueError(
                f"baselines: quiz_student is about the labels of the quiz, and objective.alpha=1 reads none: {mend}"
            )
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError("baselines: one is named twice")
        if self.train.labeled_share is not None and self.data.unlabeled is None:
            raise ValueError("train.labeled_share: all rows have labels: set data.unlabeled")

    def _check_objective(self) -> None:
        if self.task.type == "regression" and self.objective.classes_only:
            kind = self.objective.type
            raise ValueError(f"objective: {kind} compares probabilities of classes; a regression has none (take mse)")
        refusal = coupling_refusal(self.objective, self.weighting, self.feedback, self.train)
        if refusal is not None:
            raise ValueError(refusal)

    def _check_weighting(self) -> None:
        weighting, names, baselines = self.weighting, self.teacher_names, self.baseline_weightings
        for rule in (weighting, *baselines.values()):
            key = "weighting" if rule is weighting else "baselines"
            if self.task.type == "regression" and rule.classes_only:
                raise ValueError(f"{key}: {rule.type} compares probabilities of classes; a regression has none")
            if self.data.unlabeled is not None and rule.needs_labels:
                raise ValueError(f"{key}: {rule.type} compares answers with the row's label; some rows have none")
        if self.needs_reward_split and self.data.reward == 0:
            raise ValueError("data.reward: the weighting needs rows that the student is not trained on: give a share")
        for name, rule in baselines.items():
            if rule.fitted and not self.rows.reward:
                raise ValueError(f"baselines: {name} is fitted on the reward split: set data.reward to a share above 0")
        if isinstance(weighting, FixedConfig) and len(weighting.weights) != len(names):
            raise ValueError(f"weighting.weights: {len(weighting.weights)} weights for {len(names)} teachers")
        if isinstance(weighting, OracleConfig):
            for name in (weighting.plan or {}).values():
                if name not in names:
                    raise ValueError(f"weighting.plan: no teacher is named {name!r}: {', '.join(names)}")
        if isinstance(weighting, PolicyConfig):
            self._check_policy(weighting)

    def _check_policy(self, policy: PolicyConfig) -> None:
        if policy.sentence_teacher is not None and policy.sentence_teacher not in self.teacher_names:
            known = ", ".join(self.teacher_names)
            raise ValueError(f"weighting.sentence_teacher: no teacher is named {policy.sentence_teacher!r}: {known}")
        if "in_loop" in self.baselines:
            raise ValueError("baselines: in_loop remembers no answers, and a policy's states are made of them")
        if policy.cross_fit and self.data.unlabeled is not None:
            raise ValueError("weighting.cross_fit: it makes losses against labels honest, and some rows have no label")
        if policy.cross_fit and not any(isinstance(teacher, TrainedTeacherConfig) for teacher in self.teachers):
            raise ValueError("weighting.cross_fit: no teacher is fine-tuned here (prepare: finetune)")
        if policy.reward.type == "influence" and self.objective.alpha == 0:
            raise ValueError("objective.alpha: with 0 no teacher has an influence: use another reward")

    def _check_feedback(self) -> None:
        feedback, names = self.feedback, self.teacher_names
        if feedback.needs_quiz and self.data.quiz == 0:
            raise ValueError("data.quiz: feedback needs rows that the student is not trained on: give a share above 0")
        if isinstance(feedback, NoFeedbackConfig):
            return
        if not isinstance(feedback, CotangentFeedbackConfig):
            raise ValueError(f"feedback: the class of {feedback.type} is not derived from CotangentFeedbackConfig")
        for name in feedback.teachers or []:
            if name not in names:
                raise ValueError(f"feedback.teachers: no teacher is named {name!r}: they are {', '.join(names)}")
        workers = self.train.min_workers or self.train.workers
        if feedback.ranks > workers:
            raise ValueError(f"feedback.ranks: {feedback.ranks} ranks for {workers} student workers")
        if not self.objective.varies:
            raise ValueError(f"objective: {self.objective.type} has no gradient for teachers that learn by feedback")
        if self.objective.alpha == 0:
            raise ValueError("objective.alpha: with 0 the student learns nothing from its teachers, nor they from it")

    def _check_features(self) -> None:
        features = self.objective.features
        if features is None:
            return
        if features.teacher is not None and features.teacher not in self.teacher_names:
            known = ", ".join(self.teacher_names)
            raise ValueError(f"objective.features.teacher: no teacher is named {features.teacher!r}: {known}")
        if isinstance(self.feedback, CotangentFeedbackConfig):
            raise ValueError(
                "objective.features: teachers that learn by feedback get no word on their features: leave one out"
            )
        if features.stages == 2 and self.train.early_stopping_patience is not None:
            raise ValueError(
                "train.early_stopping_patience: it counts evaluations in which only features are matched"
                " (objective.features.stages: 2): leave it out"
            )

    def _check_without_labels(self) -> None:
        """Refuses what needs rows with labels to train on; those of a quiz or reward have a file of their own."""
        feedback, weighting, none = self.feedback, self.weighting, "no training row has a label (data.train: null)"
        if self.objective.alpha < 1:
            share = f"{1 - self.objective.alpha:g} of the loss would be that on labels"
            raise ValueError(f"objective.alpha: {share}, and {none}: set objective.alpha=1")
        for name, teacher in zip(self.teacher_names, self.teachers, strict=True):
            if isinstance(teacher, TrainedTeacherConfig):
                raise ValueError(f"teachers: {name} would be fine-tuned, and {none}: give one that is (prepare: given)")
        for name in self.baselines:
            if name in ("alone", "labeled"):
                raise ValueError(f"baselines: {name} learns from labelled rows alone, and {none}: leave it out")
        if self.train.labeled_share is not None:
            raise ValueError(f"train.labeled_share: {none}: leave it out")
        if isinstance(weighting, PolicyConfig) and weighting.reward.type != "influence":
            reward = weighting.reward.type
            raise ValueError(f"weighting.reward: {reward} is of rows with labels, and {none}: use influence")
        if self.needs_reward_split and not isinstance(self.data.reward, str):
            raise ValueError(f"data.reward: {weighting.type} needs labels, and {none}: name a split or file")
        if feedback.needs_quiz and not isinstance(self.data.quiz, str):
            raise ValueError(f"data.quiz: {feedback.type} needs labels, and {none}: name a split or file")
        if isinstance(feedback, CotangentFeedbackConfig):
            if not feedback.needs_quiz:
                raise ValueError(f"feedback: its exam is of training rows, and {none}: take one from a quiz")
            if feedback.teacher_ce:
                raise ValueError(f"feedback.teacher_ce: {none}: set feedback.teacher_ce=0")

    @property
    def rows(self) -> DataConfig:
        """`data`, with the shares that are held out for quiz and reward decided."""
        held = {"quiz": self.feedback.needs_quiz, "reward": self.needs_reward_split}
        decided = {key: HELD_OUT for key, needed in held.items() if needed and getattr(self.data, key) is None}
        return self.data.model_copy(update=decided)

    @property
    def policy_shares_quiz(self) -> bool:
        """Whether the policy's reward uses MetaDistil's quiz, in the rounds that have one."""
        policy, feedback = self.weighting, self.feedback
        influence = isinstance(policy, PolicyConfig) and policy.reward.type == "influence"
        return influence and isinstance(feedback, MetaDistilConfig)

    @property
    def needs_reward_split(self) -> bool:
        """Whether the run's weighting needs rows that are held out for it."""
        feedback = self.feedback
        always = isinstance(feedback, MetaDistilConfig) and feedback.examines_every_step
        return self.weighting.needs_reward_split and not (self.policy_shares_quiz and always)

    @property
    def baseline_weightings(self) -> dict[str, WeightingConfig]:
        """The baselines that are rules, each with the default values of its rule."""
        return {name: WeightingConfig.of(name) for name in self.baselines if name not in BASELINES}

    @property
    def trainable_teachers(self) -> list[bool]:
        """For each teacher, whether it learns from the student."""
        if not isinstance(self.feedback, CotangentFeedbackConfig):
            return [False] * len(self.teachers)
        return [self.feedback.teachers is None or name in self.feedback.teachers for name in self.teacher_names]

    @property
    def learning_teachers(self) -> list[str]:
        """The names of the teachers that learn from the student."""
        return [name for name, learns in zip(self.teacher_names, self.trainable_teachers, strict=True) if learns]

    @property
    def trainer_ranks(self) -> int:
        """Processes that share the training of one teacher under feedback; 1 without feedback."""
        return self.feedback.ranks if isinstance(self.feedback, CotangentFeedbackConfig) else 1

    @property
    def teacher_names(self) -> list[str]:
        """The teachers' names in order: `name`, else teacher0, teacher1, …."""
        return [teacher.name or f"teacher{k}" for k, teacher in enumerate(self.teachers)]

    @property
    def cache_folder(self) -> Path:
        """The cache as an absolute path."""
        return self.cache.expanduser().resolve()

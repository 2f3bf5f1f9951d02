"""A whole run: the top-level keys of a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from raykd.config.base import Section
from raykd.config.feedback import FeedbackConfig
from raykd.config.keys import field_at, validation_error
from raykd.config.model import ModelConfig, TeacherConfig
from raykd.config.study import StudyConfig
from raykd.config.trackers import TrackersConfig
from raykd.config.training import TrainConfig
from raykd.config.weighting import CLASSES_ONLY, FITTED, WeightingConfig

CLASSIFICATION_METRICS = ("accuracy", "f1", "matthews")
REGRESSION_METRICS = ("pearson", "spearman")
HELD_OUT = 0.1
"""Share of the quiz (MetaDistil, section 3.2) or reward split, where one is needed and none is given."""


class TaskConfig(Section):
    """What is learnt."""

    shorthand = "type"

    type: Literal["classification", "regression"] = Field("classification", description="what the label is")
    metric: Literal["accuracy", "f1", "matthews", "pearson", "spearman"] | None = Field(
        None, description="chooses the best checkpoint; default accuracy or pearson"
    )
    labels: list[str] | None = Field(
        None, description="class names in the order of the label ids; default: the data set's own, else LABEL_0, …"
    )

    @model_validator(mode="after")
    def _fits(self) -> TaskConfig:
        allowed = CLASSIFICATION_METRICS if self.type == "classification" else REGRESSION_METRICS
        if self.metric is not None and self.metric not in allowed:
            raise ValueError(f"metric {self.metric} does not fit {self.type}: use one of {', '.join(allowed)}")
        if self.labels is not None and self.type == "regression":
            raise ValueError("labels are class names; a regression has none")
        if self.labels is not None and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise ValueError("labels must name at least two different classes")
        return self

    @property
    def best_by(self) -> str:
        """The metric that chooses the best checkpoint."""
        return self.metric or ("accuracy" if self.type == "classification" else "pearson")


class GeneratorConfig(Section):
    """The embedded corpus: seeded reviews of several domains, `data.source: generated`."""

    rows: int = Field(3000, ge=100, description="training rows")
    validation_rows: int = Field(600, ge=50, description="validation rows, never noisy")
    domains: int = Field(3, ge=1, le=6, description="how many domains")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of training labels that are flipped")
    seed: int = Field(0, ge=0, description="seed of the generator")


class DataConfig(Section):
    """Where the rows come from and which of them are used."""

    shorthand = "source"

    source: str = Field(description="a hub data set, a folder with a file per split, or `generated`")
    subset: str | None = Field(None, description="configuration of a hub data set: sst2 of nyu-mll/glue")
    train: str = Field("train", description="name of the split, or a file (parquet, csv, tsv, jsonl, arrow)")
    validation: str = Field("validation", description="name of the split, or a file")
    test: str | None = Field(None, description="split or file that is scored once, at the end")
    text: str = Field("text", description="column of the (first) sentence")
    text_pair: str | None = Field(
        None, description="column of the second sentence; default: text_pair where it is there"
    )
    label: str = Field("label", description="column of the label")
    domain: str | None = Field(None, description="column of the domain; default: domain where it is there")
    domains: list[str] | None = Field(None, description="keep only the rows of these domains")
    max_length: int = Field(128, ge=4, description="tokens of a row; longer ones are cut")
    limit: int | None = Field(
        None, ge=2, description="keep so many (stratified) of the training rows that validation, quiz and reward leave"
    )
    fraction: float = Field(1.0, gt=0, le=1, description="keep this share of the training rows (stratified)")
    validation_from_train: float = Field(
        0.0, ge=0, lt=0.9, description="share of train that takes the validation's place, for tuning"
    )
    quiz: float | None = Field(
        None,
        ge=0,
        lt=0.9,
        description="share of train held out for the teachers' quiz; null: 0.1 where feedback needs it",
    )
    reward: float | None = Field(
        None,
        ge=0,
        lt=0.9,
        description="share of train held out for the policy's reward or a fitted rule; null: 0.1 where it is needed",
    )
    seed: int = Field(
        0, ge=0, description="of limit, fraction and carving; apart from the run's, so seeds share splits"
    )
    generated: GeneratorConfig = Field(GeneratorConfig(), description="used with source: generated")

    @model_validator(mode="after")
    def _room(self) -> DataConfig:
        if self.validation_from_train + (self.quiz or 0) + (self.reward or 0) >= 0.95:
            raise ValueError("validation_from_train, quiz and reward together leave no rows to train on")
        return self


class ObjectiveConfig(Section):
    """L = α · soft + (1 − α) · hard."""

    shorthand = "type"

    type: Literal["kl", "mse"] = Field("kl", description="kl: softened probabilities; mse: logits")
    temperature: float = Field(2.0, gt=0, description="τ; softens both sides of kl, mse has none")
    alpha: float = Field(0.5, ge=0, le=1, description="α, the weight of the soft part")


class ClusterConfig(Section):
    """Where things run. Nothing here changes what is learnt."""

    address: str | None = Field(None, description="of a running Ray cluster; default a local Ray of our own")
    num_cpus: int | None = Field(
        None, ge=1, description="logical CPUs of a local Ray; default at least 4 and what fits"
    )
    object_store_mb: int = Field(256, ge=80, description="object store of a local Ray")
    lease_s: float = Field(60, gt=0, description="a shared teacher service ends so long after its last user")


class RunConfig(Section):
    """One distillation: who teaches whom what, and how."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="names the folder runs/NAME")
    seed: int = Field(0, ge=0, description="of the student's new weights, the order of rows and dropout")
    task: TaskConfig = Field(TaskConfig(), description="what is learnt")
    data: DataConfig = Field(description="where the rows come from")
    teachers: list[TeacherConfig] = Field(description="the ensemble")
    student: ModelConfig = Field(description="a hub name or folder, a fresh model, or a truncation")
    objective: ObjectiveConfig = Field(ObjectiveConfig(), description="the loss")
    weighting: WeightingConfig = Field(WeightingConfig(), description="how teachers are blended")
    feedback: FeedbackConfig = Field(FeedbackConfig(), description="what teachers learn from the student")
    train: TrainConfig = Field(TrainConfig(), description="how the student is trained")
    baselines: list[
        Literal["alone", "in_loop", "uniform", "random", "confidence", "entropy", "oracle", "best", "logistic"]
    ] = Field(
        [],
        description="alone: the student without a teacher; in_loop: its teachers called in its own loop; the name of a"
        " weighting rule: frozen teachers blended by it",
    )
    study: StudyConfig | None = Field(None, description="a search over configurations: raykd study")
    trackers: TrackersConfig = Field(TrackersConfig(), description="where metrics are sent, of a run or a study")
    parity_rows: int = Field(8, ge=0, description="rows that each teacher answers twice, served and locally; 0: none")
    cluster: ClusterConfig = Field(ClusterConfig(), description="where things run")
    cache: Path = Field(
        Path("~/.cache/raykd"), description="corpora, prepared teachers and soft targets; shared storage on a cluster"
    )

    @model_validator(mode="after")
    def _whole(self) -> RunConfig:
        if not self.teachers:
            raise ValueError("teachers: at least one is needed")
        names = self.teacher_names
        if len(set(names)) < len(names):
            raise ValueError(f"teachers: two have the same name among {', '.join(names)}")
        self._check_weighting()
        self._check_feedback()
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError("baselines: one is named twice")
        self._check_study()
        return self

    def _check_weighting(self) -> None:
        given, names = self.weighting, self.teacher_names
        if given.weights is not None and len(given.weights) != len(names):
            raise ValueError(f"weighting.weights: {len(given.weights)} weights for {len(names)} teachers")
        for rule in CLASSES_ONLY:
            if self.task.type == "regression" and rule in (given.type, *self.baselines):
                raise ValueError(f"weighting: {rule} compares probabilities of classes; a regression has none")
        if given.needs_reward_split and self.data.reward == 0:
            raise ValueError("data.reward: the weighting needs rows that the student is not trained on: give a share")
        for rule in FITTED:
            if rule in self.baselines and not self.rows.reward:
                raise ValueError(f"baselines: {rule} is fitted on the reward split: set data.reward to a share above 0")
        if given.sentence_teacher is not None and given.sentence_teacher not in names:
            known = ", ".join(names)
            raise ValueError(f"weighting.sentence_teacher: no teacher is named {given.sentence_teacher!r}: {known}")
        if given.type == "policy" and "in_loop" in self.baselines:
            raise ValueError("baselines: in_loop remembers no answers, and a policy's states are made of them")
        if given.cross_fit and not any(teacher.prepare == "finetune" for teacher in self.teachers):
            raise ValueError("weighting.cross_fit: no teacher is fine-tuned here (prepare: finetune)")

    def _check_feedback(self) -> None:
        feedback, names = self.feedback, self.teacher_names
        if feedback.type == "none":
            return
        if feedback.needs_quiz and self.data.quiz == 0:
            raise ValueError("data.quiz: feedback needs rows that the student is not trained on: give a share above 0")
        for name in feedback.teachers or []:
            if name not in names:
                raise ValueError(f"feedback.teachers: no teacher is named {name!r}: they are {', '.join(names)}")
        if feedback.ranks > self.train.workers:
            raise ValueError(f"feedback.ranks: {feedback.ranks} ranks for {self.train.workers} student workers")
        if self.objective.alpha == 0:
            raise ValueError("objective.alpha: with 0 the student does not hear its teachers, nor they it")

    def _check_study(self) -> None:
        if self.study is None:
            return
        for key, given in self.study.space.items():
            try:
                field_at(type(self), key)
            except ValueError as error:
                raise ValueError(f"study.space: {error}") from None
            for value in given.examples:
                why = validation_error(type(self), key, value)
                if why is not None:
                    raise ValueError(f"study.space.{key}: {value!r}: {why}")
        if self.study.metric is not None:
            try:
                TaskConfig(type=self.task.type, metric=self.study.metric)
            except ValueError as error:
                raise ValueError(f"study.metric: {self.study.metric} does not fit {self.task.type}") from error
        if self.study.scheduler.type == "pbt" and self.train.workers > 1:
            raise ValueError("study.scheduler: pbt needs students of one worker (train.workers: 1)")
        if self.study.minimize is not None and self.train.workers > 1:
            raise ValueError("study.minimize: needs students of one worker (train.workers: 1)")

    @property
    def rows(self) -> DataConfig:
        """`data`, with the shares that are held out for quiz and reward decided."""
        held = {"quiz": self.feedback.needs_quiz, "reward": self.weighting.needs_reward_split}
        decided = {key: HELD_OUT for key, needed in held.items() if needed and getattr(self.data, key) is None}
        return self.data.model_copy(update=decided)

    @property
    def trainable_teachers(self) -> list[bool]:
        """For each teacher, whether it learns from the student."""
        if self.feedback.type == "none":
            return [False] * len(self.teachers)
        return [self.feedback.teachers is None or name in self.feedback.teachers for name in self.teacher_names]

    @property
    def teacher_names(self) -> list[str]:
        """The teachers' names in order, given or teacher0, teacher1, …."""
        return [teacher.name or f"teacher{k}" for k, teacher in enumerate(self.teachers)]

    @property
    def cache_folder(self) -> Path:
        """The cache as an absolute path."""
        return self.cache.expanduser().resolve()

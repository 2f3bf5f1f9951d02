"""One teacher of the ensemble: an item of `teachers`, one class for each way to prepare it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark, Name, Section
from raykd.config.choice import Choice, OneOf
from raykd.config.endpoint import EndpointKeys
from raykd.config.model import ModelConfig
from raykd.config.training import FinetuneConfig, MetaFinetuneConfig, Precision

TARGET = "target"
"""Stands for data.target_domain among the domains of a teacher, so that one file serves every domain."""


class TeacherConfig(Choice):
    """A teacher, and where its replicas run."""

    shorthand = "model"
    discriminator = "prepare"
    default_type = "given"

    prepare: str
    name: Name | None = Field(None, description="default: teacher0, teacher1, …")
    replicas: Annotated[int, Mark.PLACEMENT] = Field(1, ge=1, description="copies that answer side by side")
    max_replicas: Annotated[int | None, Mark.PLACEMENT] = Field(
        None,
        ge=1,
        description="of a served ensemble: copies are added up to so many while students wait; null: never",
    )
    num_cpus: Annotated[float, Mark.PLACEMENT] = Field(1, ge=0, description="logical CPUs of a replica")
    resources: Annotated[dict[str, float], Mark.PLACEMENT] = Field(
        {}, description="custom resources that place replicas", examples=[{"teacher_slot": 1}]
    )
    node_labels: Annotated[dict[str, str], Mark.PLACEMENT] = Field(
        {}, description="labels of the nodes that may run replicas", examples=[{"raykd-role": "teacher"}]
    )
    call_timeout_s: Annotated[float | None, Mark.PLACEMENT] = Field(
        600,
        gt=0,
        description="a replica that works longer on one call is replaced, and its rows go to another; null: never",
    )

    @classmethod
    def type_of(cls, section: dict[str, Any]) -> str:
        """The type that an item of `teachers` names; else `endpoint` where it has that key."""
        return "endpoint" if cls.discriminator not in section and "endpoint" in section else super().type_of(section)

    @model_validator(mode="after")
    def _bounds(self) -> TeacherConfig:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas: {self.max_replicas} are fewer than replicas, {self.replicas}")
        return self

    @property
    def gpus(self) -> float:
        """GPUs that a replica needs."""
        return 0

    @property
    def uses_cores(self) -> bool:
        """Whether its replicas compute on the cores of the nodes that they are on."""
        return False


class ModelKeys(Section):
    """A checkpoint that replicas of a teacher run."""

    model: ModelConfig = Field(description="a hub name or folder, or a mapping as for `student`")
    max_length: int | None = Field(None, ge=4, description="tokens of a row for this teacher; default data.max_length")
    precision: Precision = Field(
        "auto", description="of the forward pass; auto: bfloat16 on GPUs that have it, float32 else"
    )
    num_gpus: Annotated[float, Mark.PLACEMENT] = Field(
        0, ge=0, description="GPUs of a replica; a fraction shares one", examples=[0.25]
    )
    threads: int | None = Field(None, ge=1, description="torch threads of a replica; null: chosen and logged")
    batch_tokens: Annotated[int | None, Mark.PLACEMENT] = Field(
        None, ge=16, description="tokens of one call; null: 2048 on a CPU, 32768 on a GPU"
    )


class ModelTeacherConfig(TeacherConfig, ModelKeys):
    """Base of those whose replicas run a checkpoint."""

    @property
    def gpus(self) -> float:
        """GPUs of a replica: `num_gpus`."""
        return self.num_gpus

    @property
    def uses_cores(self) -> bool:
        """Whether it has no GPU."""
        return not self.num_gpus


class GivenTeacherConfig(ModelTeacherConfig):
    """A classifier (or regressor) of this task already."""

    title = "used as given"

    prepare: Literal["given"] = "given"
    labels: list[str] | None = Field(
        None,
        description="names of the logit columns, where the checkpoint has none",
        examples=[["negative", "positive"]],
    )

    ensemble: Annotated[Name | None, Mark.PLACEMENT] = Field(
        None,
        description="of a served ensemble (`raykd serve`): `{ensemble: NAME}` stands for all its teachers, with `name`"
        " for one; the other keys come from there",
    )
    seen: list[str] | None = Field(
        None,
        description="splits that the checkpoint was fitted on, for the account of labels; null: unknown",
        examples=[["train"]],
    )

    @model_validator(mode="after")
    def _prepared(self) -> GivenTeacherConfig:
        if self.model.from_ is None:
            raise ValueError("a fresh model has learnt nothing yet: set prepare: finetune")
        if self.model.layers is not None:
            raise ValueError("a truncated model must be trained again: set prepare: finetune")
        return self


class TrainedTeacherConfig(ModelTeacherConfig):
    """Base of those that are trained on the training rows first, and kept in the cache.

    Attributes:
        verb: what is done to a teacher in a phase of the log: `fine-tune teacher NAME`.
        trained: the same when it is done: `fine-tuned on 3,000 rows`.
    """

    verb: ClassVar[str] = "train"
    trained: ClassVar[str] = "trained"

    finetune: FinetuneConfig = Field(FinetuneConfig(), description="how it is trained")
    domains: list[str] | None = Field(
        None,
        description="a specialist: fine-tuned on the rows of these domains alone; `target` is data.target_domain",
        examples=[["books"], [TARGET]],
    )
    leave_out: list[str] | None = Field(
        None,
        min_length=1,
        description="fine-tuned on the rows of all domains but these; `target` is data.target_domain",
        examples=[[TARGET]],
    )

    @model_validator(mode="after")
    def _one_filter(self) -> TrainedTeacherConfig:
        if self.domains is not None and self.leave_out is not None:
            raise ValueError("leave_out: domains names all that it learns from: set one of the two")
        return self

    @property
    def names_target(self) -> bool:
        """Whether its domains are those of data.target_domain, or all but that."""
        return TARGET in (self.domains or []) + (self.leave_out or [])


class FinetunedTeacherConfig(TrainedTeacherConfig):
    """Trained on the training rows first, and kept in the cache."""

    title = "fine-tuned on the training rows"
    implementation = "raykd.teachers.recipe:Recipe"
    verb, trained = "fine-tune", "fine-tuned"

    prepare: Literal["finetune"] = "finetune"


class MetaTeacherConfig(TrainedTeacherConfig):
    """A meta-teacher: one model for all domains, trained most on the rows that are typical of every domain."""

    title = "meta-teacher of all domains"
    citation = (
        "Pan et al., “Meta-KD: A Meta Knowledge Distillation Framework for Language Model Compression across Domains”,"
        " ACL 2021, arXiv 2012.01266, section 3.2"
    )
    implementation = "raykd.teachers.meta_teacher:MetaRecipe"
    verb, trained = "meta-train", "meta-teacher trained"

    prepare: Literal["meta"] = "meta"
    finetune: MetaFinetuneConfig = Field(MetaFinetuneConfig(), description="how it is trained")
    prototype_share: float = Field(
        0.5, ge=0, le=1, description="ρ, the share of a row's own domain in its prototype score, beside the others'"
    )
    prototype_weights: bool = Field(
        True, description="weigh each row's loss by its prototype score; false: all rows alike, a control"
    )
    domain_loss: Literal["corrupt", "reverse", "none"] = Field(
        "corrupt",
        description="what makes its states alike over domains: corrupt, a domain head learns wrong domains, as in the"
        " paper; reverse, it learns the right ones and the model the opposite",
    )
    domain_weight: float = Field(0.5, ge=0, description="γ₁, the weight of the domain loss")


class MultiTaskTeacherConfig(TrainedTeacherConfig):
    """One encoder with a classifier of its own for each domain; served with one of them."""

    title = "multi-task teacher, a classifier for each domain"
    citation = (
        "Liu et al., “Multi-Task Deep Neural Networks for Natural Language Understanding”, ACL 2019, arXiv 1901.11504"
    )
    implementation = "raykd.teachers.multi_task:MultiTaskRecipe"
    verb, trained = "train multi-task", "multi-task teacher trained"

    prepare: Literal["multi_task"] = "multi_task"
    domain: str | None = Field(
        None,
        description="whose classifier is served; null: that of data.target_domain where it was trained, else the mean",
    )


class EndpointTeacherConfig(TeacherConfig, EndpointKeys):
    """A server of text classification that is asked over HTTP: docs/endpoints.md."""

    title = "asked at an endpoint"

    prepare: Literal["endpoint"] = "endpoint"
    num_cpus: Annotated[float, Mark.PLACEMENT] = Field(
        0.1, ge=0, description="logical CPUs of a replica, which only waits for the server"
    )


def check_target(teachers: Iterable[tuple[str, TeacherConfig]], target_domain: str | None) -> None:
    """Refuses teachers, given with their names, whose domains are those of a target domain where none is set."""
    for name, teacher in teachers:
        if target_domain is None and isinstance(teacher, TrainedTeacherConfig) and teacher.names_target:
            key = "domains" if teacher.domains is not None else "leave_out"
            what = f"{TARGET} is data.target_domain, which is not set"
            raise ValueError(f"teachers: {key} of {name}: {what}: set it, name a domain, or run raykd domains")


AnyTeacher = Annotated[TeacherConfig, OneOf()]

"""What the teachers learn from the student: the section `feedback`, one class per method (docs/feedback.md)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark
from raykd.config.choice import Choice, OneOf

LAST = re.compile(r"last_([1-9]\d*)")


class FeedbackConfig(Choice):
    """None, MetaDistil (a pilot step that is rolled back), or IKD (the student keeps its step)."""

    shorthand = "type"
    default_type = "none"
    group = "raykd.feedback"

    type: str

    @property
    def needs_quiz(self) -> bool:
        """Whether rows must be held out for it."""
        return False


class NoFeedbackConfig(FeedbackConfig):
    """The teachers stay as they are."""

    title = "no feedback"
    implementation = "raykd.feedback.none:NoFeedback"

    type: Literal["none"] = "none"


class CotangentFeedbackConfig(FeedbackConfig):
    """What all methods share that send a teacher the cotangent of the student's later loss on its logits."""

    teachers: list[str] | None = Field(
        None, description="names of the teachers that learn; null: all", examples=[["teacher0"]]
    )
    every: int = Field(1, ge=1, description="a round of feedback each so many student steps")
    start: int = Field(0, ge=0, description="first student step with feedback; before it the stored targets serve")
    route: Literal["auto", "forward", "central", "one_sided"] = Field(
        "auto", description="the student's directional derivative: forward mode, or central or one-sided differences"
    )
    quiz_batches: int = Field(1, ge=1, description="quiz batches of a round, drawn with replacement")
    quiz_batch_size: int | None = Field(None, ge=1, description="rows of a quiz batch; null: train.batch_size")
    centred: bool = Field(
        False, description="leave out what the student would change on all rows alike: its bias towards a class"
    )
    trainable: str = Field(
        "all", description="the teacher's parameters that learn: all, head, last_N, or a pattern", examples=["last_2"]
    )
    weight: Annotated[float, Mark.LIVE] = Field(
        1.0,
        ge=0,
        description="ω, the weight of the feedback; 0 with teacher_ce: it only continues its fine-tuning. "
        "Its gradient is easily 100 (ikd: 10,000) times as long as that of teacher_ce: the report shows both",
    )
    teacher_ce: float = Field(0.0, ge=0, description="γ, the weight of its own cross-entropy")
    teacher_kd: float = Field(0.0, ge=0, description="κ, its divergence from the student (LGTM)")
    teacher_reference_kl: float = Field(
        0.0, ge=0, description="weight of its divergence from the teacher it was forked from"
    )
    teacher_lr: Annotated[float, Mark.LIVE] = Field(5e-6, gt=0, description="peak learning rate of the teacher")
    teacher_optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the teacher")
    teacher_schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="decay of its rate")
    teacher_warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of its steps with a rising rate")
    teacher_weight_decay: float = Field(0.0, ge=0, description="decoupled decay of the teacher's weights")
    teacher_max_grad_norm: float | None = Field(
        1.0, gt=0, description="its largest gradient norm; null for no clipping"
    )
    ranks: int = Field(1, ge=1, description="processes that share one teacher's training; at most train.workers")
    recompute: bool = Field(False, description="forward again for the gradient and hold no graph: slower, less memory")
    measure_every: int = Field(10, ge=1, description="rounds between measurements of the feedback's signal and noise")

    @model_validator(mode="after")
    def _fits(self) -> CotangentFeedbackConfig:
        if not (self.weight or self.teacher_ce or self.teacher_kd):
            raise ValueError(
                "weight is 0, and so are teacher_ce and teacher_kd: the teachers have nothing to learn from"
            )
        if self.trainable not in ("all", "head") and not LAST.fullmatch(self.trainable):
            try:
                re.compile(self.trainable)
            except re.error as error:
                raise ValueError(f"trainable {self.trainable!r} is no regular expression: {error}") from None
        return self

    @property
    def needs_quiz(self) -> bool:
        """The student is examined on held-out rows."""
        return True

    def rounds(self, steps: int) -> range:
        """The student's steps that have a round of feedback, of so many planned ones."""
        return range(self.start, steps, self.every)

    def quiz_rows(self, batch_size: int) -> int:
        """Rows of a round's quiz, `batch_size` being the student's."""
        return self.quiz_batches * (self.quiz_batch_size or batch_size)


class MetaDistilConfig(CotangentFeedbackConfig):
    """A pilot step, a quiz, the teachers' step, then the student's real step on the improved teachers' targets."""

    title = "MetaDistil"
    citation = "Zhou, Xu, McAuley, “BERT Learns to Teach”, ACL 2022, arXiv 2106.04570"
    implementation = "raykd.feedback.metadistil:MetaDistil"

    type: Literal["metadistil"] = "metadistil"
    rollback: bool = Field(
        True,
        description="false: no pilot; the student keeps its own step, and the teachers learn after it (an ablation)",
    )
    pilot_lr: Annotated[float | None, Mark.LIVE] = Field(
        None, gt=0, description="η of the pilot's SGD step; null: train.lr"
    )

    @model_validator(mode="after")
    def _pilots(self) -> MetaDistilConfig:
        if not self.rollback and self.pilot_lr is not None:
            raise ValueError("pilot_lr has no use with rollback: false: the student makes no pilot step")
        return self

    @property
    def examines_every_step(self) -> bool:
        """Every step has a pilot and a quiz, so that the policy's `influence` needs no rows of its own."""
        return self.start == 0 and self.every == 1 and self.rollback and bool(self.weight)


class IKDConfig(CotangentFeedbackConfig):
    """The student keeps its course step; the teachers then learn from its exam and their own cross-entropy."""

    title = "IKD"
    citation = "Liu, Sun, Qiu, Huang, “Learning to Teach with Student Feedback”, arXiv 2109.04641"
    implementation = "raykd.feedback.ikd:IKD"

    type: Literal["ikd"] = "ikd"
    teacher_ce: float = Field(1.0, ge=0, description="γ, the weight of its own cross-entropy")
    exam_source: Literal["quiz", "train"] = Field("quiz", description="rows of the exam; train: not the batch's own")

    @property
    def needs_quiz(self) -> bool:
        """Unless the exam is drawn from the training rows."""
        return self.exam_source == "quiz"


AnyFeedback = Annotated[FeedbackConfig, OneOf()]

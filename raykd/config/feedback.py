"""What the teachers learn from the student: the section `feedback` (docs/feedback.md)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from raykd.config.base import Section

LAST = re.compile(r"last_([1-9]\d*)")


class FeedbackConfig(Section):
    """None, MetaDistil (a pilot step that is rolled back), or IKD (the student keeps its step)."""

    shorthand = "type"

    type: Literal["none", "metadistil", "ikd"] = Field("none", description="none: the teachers stay as they are")
    teachers: list[str] | None = Field(None, description="names of the teachers that learn; null: all")
    every: int = Field(1, ge=1, description="a round of feedback each so many student steps")
    start: int = Field(0, ge=0, description="first student step with feedback; before it the stored targets serve")
    route: Literal["auto", "forward", "central", "one_sided"] = Field(
        "auto", description="the student's directional derivative: forward mode, or central or one-sided differences"
    )
    quiz_batches: int = Field(1, ge=1, description="quiz batches of a round, drawn with replacement")
    quiz_batch_size: int | None = Field(None, ge=1, description="rows of a quiz batch; null: train.batch_size")
    exam_source: Literal["quiz", "train"] = Field("quiz", description="rows of IKD's exam; train: not the batch's own")
    rollback: bool = Field(True, description="metadistil: false keeps the pilot's step, as an ablation")
    pilot_lr: float | None = Field(None, gt=0, description="η of the pilot's SGD step; null: train.lr")
    centred: bool = Field(
        False, description="leave out what the student would change on all rows alike: its lean towards a class"
    )
    trainable: str = Field("all", description="the teacher's parameters that learn: all, head, last_N, or a pattern")
    weight: float = Field(
        1.0,
        ge=0,
        description="ω, the weight of the feedback; 0 with teacher_ce: it just goes on fine-tuning. "
        "Its gradient is easily 100 (ikd: 10,000) times as long as that of teacher_ce: the report shows both",
    )
    teacher_ce: float | None = Field(None, ge=0, description="γ, its own cross-entropy; null: 0, for ikd 1")
    teacher_kd: float = Field(0.0, ge=0, description="κ, its divergence from the student (LGTM)")
    teacher_reference_kl: float = Field(
        0.0, ge=0, description="weight of its divergence from the teacher it was forked from"
    )
    teacher_lr: float = Field(5e-6, gt=0, description="peak learning rate of the teacher")
    teacher_optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the teacher")
    teacher_schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="decay of its rate")
    teacher_warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of its steps with a rising rate")
    teacher_weight_decay: float = Field(0.0, ge=0, description="decoupled decay of the teacher's weights")
    teacher_max_grad_norm: float | None = Field(
        1.0, gt=0, description="its largest gradient norm; null for no clipping"
    )
    ranks: int = Field(1, ge=1, description="processes that share one teacher's learning; at most train.workers")
    recompute: bool = Field(False, description="forward again for the gradient and hold no graph: slower, less memory")
    measure_every: int = Field(10, ge=1, description="rounds between measurements of the feedback's signal and noise")

    @model_validator(mode="after")
    def _fits(self) -> FeedbackConfig:
        fields = type(self).model_fields
        changed = [key for key in fields if key != "type" and getattr(self, key) != fields[key].default]
        if self.type == "none" and changed:
            raise ValueError(f"`{changed[0]}` is set, but type is none: say type: metadistil or ikd")
        if self.type != "ikd" and self.exam_source == "train":
            raise ValueError("exam_source: train belongs to ikd; metadistil's quiz is held out (data.quiz)")
        if self.type == "ikd" and not self.rollback:
            raise ValueError("ikd never rolls back: leave `rollback` out")
        if self.type == "ikd" and self.pilot_lr is not None:
            raise ValueError("ikd has no pilot: leave `pilot_lr` out")
        if self.type != "none" and not (self.weight or self.own_ce or self.teacher_kd):
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
    def own_ce(self) -> float:
        """γ as it is used."""
        if self.teacher_ce is not None:
            return self.teacher_ce
        return 1.0 if self.type == "ikd" else 0.0

    @property
    def needs_quiz(self) -> bool:
        """Whether rows must be held out for it."""
        return self.type != "none" and self.exam_source == "quiz"

"""The events of metrics.jsonl, one class a kind; `event` tells them apart. NaN and infinite floats are null."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Scores = dict[str, float | None]


class Event(BaseModel):
    """What all events have: the time of writing, in unix seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: str
    time: float = Field(default_factory=time.time)


class PlanEvent(Event):
    """A model's training begins: optimizer steps, epochs, training rows, rows of a step, the metric that chooses."""

    event: Literal["plan"] = "plan"
    steps: int
    epochs: float
    samples: int
    batch_size: int
    metric: str


class WorkersEvent(Event):
    """A training whose number of workers may change begins, or goes on after this step, with so many."""

    event: Literal["workers"] = "workers"
    step: int
    workers: int


class StepEvent(Event):
    """Means over the optimizer steps since the last such event; `soft` is absent for a model without a teacher,
    `features` where none are matched."""

    event: Literal["step"] = "step"
    step: int
    epoch: float
    lr: float
    loss: float | None
    hard: float | None
    soft: float | None = None
    features: float | None = None
    grad_norm: float | None
    samples_per_s: float
    wait_share: float


class EvalEvent(Event):
    """Scores of the model on the validation rows, and its mean loss against the labels."""

    event: Literal["eval"] = "eval"
    step: int
    epoch: float
    scores: Scores
    loss: float | None
    best: bool


class PhaseEvent(Event):
    """A phase of a run or study begins: `soft targets`, `student`, `baseline alone`, …"""

    event: Literal["phase"] = "phase"
    phase: str


class TargetsEvent(Event):
    """How many of the rows that the run wants a teacher has answered."""

    event: Literal["targets"] = "targets"
    teacher: str
    rows: int
    of: int


class DoneEvent(Event):
    """The run or study is finished."""

    event: Literal["done"] = "done"


class TeacherStep(BaseModel):
    """One optimizer step of a teacher under feedback; norms and cosines only where the round was measured.

    Attributes:
        norm_feedback, norm_ce, norm_kd, norm_reference: gradient norm of each term of its loss.
        cosine_quiz: cosine of the gradients of two independent quiz batches.
        cosine_last: cosine of this gradient and the one measured before it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    grad_norm: float | None = None
    lr: float | None = None
    norm_feedback: float | None = None
    norm_ce: float | None = None
    norm_kd: float | None = None
    norm_reference: float | None = None
    cosine_quiz: float | None = None
    cosine_last: float | None = None


class FeedbackEvent(Event):
    """A round of feedback: quiz loss before and after the student's step, the teachers' steps, bytes sent so far."""

    event: Literal["feedback"] = "feedback"
    step: int
    epoch: float
    teachers: dict[str, TeacherStep]
    seconds: float
    wire_bytes: int
    quiz_before: float | None = None
    quiz_after: float | None = None


class TeacherScores(BaseModel):
    """A teacher under feedback on the validation rows; `drift` is ‖θ − θ₀‖ / ‖θ₀‖."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    scores: Scores
    drift: float | None


class TeacherEvalEvent(Event):
    """The teachers under feedback on the validation rows, by name."""

    event: Literal["teacher_eval"] = "teacher_eval"
    step: int
    epoch: float
    teachers: dict[str, TeacherScores]


class PolicyEvent(Event):
    """An update of the policy: mean reward, entropy in nats, rows, and by teacher the mean π on those rows."""

    event: Literal["policy"] = "policy"
    step: int
    epoch: float
    version: int
    reward: float | None
    entropy: float | None
    rows: float
    share: dict[str, float | None]


class StudyPlanEvent(Event):
    """A study begins: its metric, the number of trials, how many at once, the searched keys."""

    event: Literal["study_plan"] = "study_plan"
    metric: str
    trials: int
    concurrency: int
    keys: list[str]


class TrialStartedEvent(Event):
    """A trial begins or resumes; `of` names the trial that it repeats with another seed."""

    event: Literal["trial_started"] = "trial_started"
    trial: str
    params: dict[str, Any]
    of: str | None = None


class TrialReportEvent(Event):
    """A trial has evaluated its student; `value` is its best metric so far, `now` that of this evaluation."""

    event: Literal["trial_report"] = "trial_report"
    trial: str
    params: dict[str, Any] = Field(default_factory=dict)
    step: int | None = None
    epoch: float | None = None
    value: float | None = None
    now: float | None = None
    asked: int | None = None
    parameters: int | None = None
    latency_ms: float | None = None


class TrialEndedEvent(Event):
    """A trial has ended, and why where it did not come to its end."""

    event: Literal["trial_ended"] = "trial_ended"
    trial: str
    state: Literal["done", "stopped", "failed"]
    reason: str = ""


class DomainsPlanEvent(Event):
    """The students of several domains begin or resume: the metric, how many train at once, by domain its folder, and
    whether the domains were named or are all of the data."""

    event: Literal["domains_plan"] = "domains_plan"
    metric: str
    concurrency: int
    domains: dict[str, str]
    named: bool


class DomainStartedEvent(Event):
    """The run of a domain begins or resumes."""

    event: Literal["domain_started"] = "domain_started"
    domain: str


class DomainEndedEvent(Event):
    """The run of a domain has ended: `value` is its student's where it is done, `reason` why it is not."""

    event: Literal["domain_ended"] = "domain_ended"
    domain: str
    state: Literal["done", "failed", "stopped"]
    value: float | None = None
    reason: str = ""


AnyEvent = Annotated[
    PlanEvent
    | WorkersEvent
    | StepEvent
    | EvalEvent
    | PhaseEvent
    | TargetsEvent
    | DoneEvent
    | FeedbackEvent
    | TeacherEvalEvent
    | PolicyEvent
    | StudyPlanEvent
    | TrialStartedEvent
    | TrialReportEvent
    | TrialEndedEvent
    | DomainsPlanEvent
    | DomainStartedEvent
    | DomainEndedEvent,
    Field(discriminator="event"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(AnyEvent)


def parse_event(line: bytes) -> Event | None:
    """The event of a line of metrics.jsonl; None for a half line, and for a kind that this version does not know."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None

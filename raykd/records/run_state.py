"""A run so far, folded from the events of its logs: what the terminal shows, and what the page and figures draw."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from raykd.records.events import (
    DoneEvent,
    EvalEvent,
    Event,
    FeedbackEvent,
    PhaseEvent,
    PlanEvent,
    PolicyEvent,
    StepEvent,
    TargetsEvent,
    TeacherEvalEvent,
)
from raykd.records.feedback_state import FeedbackState, PolicyState
from raykd.records.log import read_events
from raykd.records.series import Series

STUDENT = "student"
TEACHER, BASELINE = "teacher ", "baseline "
"""What the names of further logs begin with, before the teacher's or baseline's own."""
LOSSES = ("loss", "soft", "hard", "features")
TrainingEvent = PlanEvent | StepEvent | EvalEvent | FeedbackEvent | TeacherEvalEvent | PolicyEvent


@dataclass
class Phase:
    """A stretch of the run, `soft targets` for example; `end` is None while it lasts. Times in unix seconds."""

    name: str
    start: float
    end: float | None = None


@dataclass
class TargetsState:
    """How many of the rows that the run wants one teacher has answered.

    Attributes:
        first: time and rows of the first report, where the rate is counted from.
        last: time of the last report.
    """

    rows: int = 0
    of: int = 0
    first: tuple[float, int] | None = None
    last: float = 0.0

    @property
    def done(self) -> bool:
        return self.of > 0 and self.rows >= self.of

    @property
    def rows_per_s(self) -> float | None:
        """None before the second report."""
        if self.first is None or self.last <= self.first[0] or self.rows <= self.first[1]:
            return None
        return (self.rows - self.first[1]) / (self.last - self.first[0])

    def apply(self, event: TargetsEvent, since: float) -> None:
        """Takes in one report; the rate is of reports since `since`."""
        self.rows, self.of, self.last = event.rows, event.of, event.time
        if event.time >= since and (self.first is None or self.rows < self.first[1]):
            self.first = (event.time, self.rows)


@dataclass
class TrainingState:
    """One model in training: the student, a baseline, or a teacher that is fine-tuned.

    Attributes:
        metric: the one that chooses the best checkpoint.
        steps, epochs: planned; 0 before the plan.
        step, epoch: reached.
        series: over the steps: `loss`, `soft`, `hard` of the training batches, `value` (the metric) and
            `validation_loss` of the evaluations. All five keys exist; a series without values is false.
        losses: the newest loss, soft and hard that were finite.
        value: the metric of the last evaluation.
        best, best_step: the best evaluation, the first of equals.
        first: time and step that the time left is counted from.
        last: time of the newest event.
        feedback: None while no teacher learns from this model.
        policy: None while no policy weights its teachers.
        ended: when the run went to another phase, perhaps before the last step: patience.
    """

    metric: str = ""
    steps: int = 0
    epochs: float = 0.0
    step: int = 0
    epoch: float = 0.0
    series: dict[str, Series] = field(
        default_factory=lambda: {name: Series() for name in (*LOSSES, "value", "validation_loss")}
    )
    losses: dict[str, float] = field(default_factory=dict)
    samples_per_s: float | None = None
    wait_share: float | None = None
    value: float | None = None
    best: float | None = None
    best_step: int = 0
    first: tuple[float, int] | None = None
    last: float = 0.0
    feedback: FeedbackState | None = None
    policy: PolicyState | None = None
    ended: float | None = None

    @property
    def done(self) -> bool:
        return self.ended is not None or (self.steps > 0 and self.step >= self.steps)

    def seconds_left(self, now: float) -> float | None:
        """From the pace since this session's first step, evaluations included; None before the second."""
        if self.first is None or self.step <= self.first[1] or not self.steps:
            return None
        pace = (self.last - self.first[0]) / (self.step - self.first[1])
        return max(0.0, pace * (self.steps - self.step) - (now - self.last))

    @property
    def epoch_part(self) -> tuple[int, float]:
        """Which epoch this is, from 1, and how much of it is done; a finished epoch is its own whole."""
        number = max(1, math.ceil(self.epoch - 1e-9))
        return number, self.epoch - (number - 1)

    def apply(self, event: TrainingEvent, since: float) -> None:
        """Takes in one event of the model's log; the pace is of steps since `since`."""
        match event:
            case FeedbackEvent() | TeacherEvalEvent():
                self.feedback = self.feedback or FeedbackState()
                self.feedback.apply(event)
                return  # teachers may be measured once more when the student is done already
            case PolicyEvent():
                self.policy = self.policy or PolicyState()
                self.policy.apply(event)
                return
        if self.ended is not None and event.time > self.ended:
            self.ended = None
        match event:
            case PlanEvent():
                self.metric, self.steps, self.epochs = event.metric, event.steps, event.epochs
                self.first = None  # a resumed run plans again: the hours in between were no training
            case StepEvent():
                self._stepped(event, since)
            case EvalEvent():
                self._evaluated(event)

    def _stepped(self, event: StepEvent, since: float) -> None:
        self.step, self.epoch = event.step, event.epoch
        losses = dict(zip(LOSSES, (event.loss, event.soft, event.hard, event.features), strict=True))
        for name, loss in losses.items():
            self.series[name].add(event.step, loss)
        self.losses = {name: loss for name, loss in losses.items() if loss is not None}
        self.samples_per_s, self.wait_share = event.samples_per_s, event.wait_share
        self.last = event.time
        if self.first is None and self.last >= since:
            self.first = (self.last, self.step)

    def _evaluated(self, event: EvalEvent) -> None:
        self.step, self.epoch, self.last = event.step, event.epoch, event.time
        self.metric = self.metric or next(iter(event.scores), "")
        self.value = event.scores.get(self.metric)
        self.series["value"].add(event.step, self.value)
        self.series["validation_loss"].add(event.step, event.loss)
        if self.value is not None and (self.best is None or self.value > self.best):
            self.best, self.best_step = self.value, self.step


@dataclass
class RunState:
    """A whole run: phases, the teachers' soft targets, and every model that is trained.

    Phases and paces are of events since `since` (unix seconds): an earlier session's would count the hours between.

    Attributes:
        targets: by teacher, how many of its rows are answered.
        training: by log: `student`, `teacher NAME` (fine-tuned), `baseline NAME`.
        done: the run is finished.
    """

    since: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    targets: dict[str, TargetsState] = field(default_factory=dict)
    training: dict[str, TrainingState] = field(default_factory=dict)
    done: bool = False

    @classmethod
    def read(cls, folder: Path) -> RunState:
        """A run's folder, finished or not: its own log, its teachers' and its baselines'. Empty where there is none."""
        state = cls()
        for name, path in logs(folder).items():
            for event in read_events(path):
                state.apply(name, event)
        return state

    @property
    def student(self) -> TrainingState:
        """The student's training; an empty one where it has not begun."""
        return self.training.get(STUDENT, TrainingState())

    @property
    def baselines(self) -> dict[str, TrainingState]:
        """The baselines' trainings by their own name, in alphabetical order."""
        return {name.removeprefix(BASELINE): self.training[name] for name in sorted(self.training)
                if name.startswith(BASELINE)}  # fmt: skip

    @property
    def phase(self) -> str:
        """The phase that began last; empty where none has."""
        return self.phases[-1].name if self.phases else ""

    def restart(self, log: str) -> None:
        """Forgets what a log contained, since it has been cut back and will be read again."""
        self.training.pop(log, None)
        if log == STUDENT:
            self.phases, self.targets, self.done = [], {}, False

    def apply(self, log: str, event: Event) -> None:
        """Takes in one event of the run's own log (`STUDENT`), or of a teacher's or baseline's by its name there."""
        match event:
            case PlanEvent() | StepEvent() | EvalEvent() | FeedbackEvent() | TeacherEvalEvent() | PolicyEvent():
                self.training.setdefault(log, TrainingState()).apply(event, self.since)
            case PhaseEvent() if log == STUDENT and event.time >= self.since:
                self._end_phase(event.time)
                self.phases.append(Phase(event.phase, event.time))
                self.done = False
            case TargetsEvent() if log == STUDENT:
                self.targets.setdefault(event.teacher, TargetsState()).apply(event, self.since)
            case DoneEvent() if log == STUDENT:
                self._end_phase(event.time)
                self.done = True

    def _end_phase(self, now: float) -> None:
        for training in self.training.values():
            if training.step > 0 and training.ended is None:
                training.ended = now
        if self.phases and self.phases[-1].end is None:
            self.phases[-1].end = now


def logs(folder: Path) -> dict[str, Path]:
    """The logs of a run's folder by the names that `RunState.training` has; the run's own need not exist yet."""
    folder = Path(folder)
    teachers = {f"{TEACHER}{path.stem}": path for path in sorted(folder.glob("teachers/*.jsonl"))}
    baselines = {f"{BASELINE}{path.parent.name}": path for path in sorted(folder.glob("baselines/*/metrics.jsonl"))}
    return {STUDENT: folder / "metrics.jsonl", **teachers, **baselines}

"""Where a run stands, folded from the events of its logs one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raykd.records.log import Event

STUDENT = "student"
LOSSES = ("loss", "soft", "hard")
FEEDBACK_EVENTS = ("feedback", "teacher_eval")


@dataclass
class Phase:
    """A stretch of the run, `soft targets` say; `end` is None while it lasts."""

    name: str
    start: float
    end: float | None = None


@dataclass
class TeacherPass:
    """One teacher's way through the rows that the run wants answered."""

    rows: int = 0
    of: int = 0
    first: tuple[float, int] | None = None  # time and rows of the first report, where the rate is counted from
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


@dataclass
class FeedbackState:
    """What the teachers learn from the student, as told last; scores are by metric, as the plan may come later."""

    quiz_before: float | None = None
    quiz_after: float | None = None
    versions: dict[str, int] = field(default_factory=dict)  # by teacher, as the others
    began: dict[str, dict[str, float]] = field(default_factory=dict)
    now: dict[str, dict[str, float]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        if event["event"] == "feedback":
            self.quiz_before, self.quiz_after = event.get("quiz_before"), event.get("quiz_after")
        for name, one in (event.get("teachers") or {}).items():
            if one.get("version") is not None:
                self.versions[name] = int(one["version"])
            if one.get("scores"):
                self.now[name] = one["scores"]
                if name not in self.began or not event.get("step"):
                    self.began[name] = one["scores"]


@dataclass
class Training:
    """One model in training: the student, a baseline, or a teacher that is fine-tuned."""

    metric: str = ""
    steps: int = 0
    epochs: float = 0.0
    step: int = 0
    epoch: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # loss, and soft and hard where they are logged
    samples_per_s: float | None = None
    wait_share: float | None = None
    value: float | None = None
    best: float | None = None
    best_step: int = 0
    first: tuple[float, int] | None = None  # time and step that the time left is counted from
    last: float = 0.0
    feedback_text: FeedbackState | None = None  # None while no teacher learns from this model
    chosen: dict[str, float] = field(default_factory=dict)  # by teacher, how often the policy chooses it
    ended: float | None = None  # when the run went on to another phase, perhaps before the last step: patience

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

    def apply(self, event: Event, since: float) -> None:
        if event["event"] in FEEDBACK_EVENTS:
            self.feedback_text = self.feedback_text or FeedbackState()
            self.feedback_text.apply(event)
            return  # teachers may be measured once more when the student is done already
        if event["event"] == "selector":
            self.chosen = {str(name): float(value) for name, value in (event.get("share") or {}).items()}
            return
        if self.ended is not None and float(event.get("time", 0)) > self.ended:
            self.ended = None
        match event["event"]:
            case "plan":
                self.metric = str(event.get("metric", self.metric))
                self.steps, self.epochs = int(event.get("steps", 0)), float(event.get("epochs", 0))
                self.first = None  # a resumed run plans again: the hours in between were no training
            case "step":
                self.step, self.epoch = int(event["step"]), float(event.get("epoch") or 0)
                self.losses = {k: float(event[k]) for k in LOSSES if event.get(k) is not None}
                self.samples_per_s, self.wait_share = event.get("samples_per_s"), event.get("wait_share")
                self.last = float(event.get("time", self.last))
                if self.first is None and self.last >= since:
                    self.first = (self.last, self.step)
            case "eval":
                self._evaluated(event)

    def _evaluated(self, event: Event) -> None:
        self.step, self.epoch = int(event["step"]), float(event.get("epoch") or self.epoch)
        self.value = event.get("scores", {}).get(self.metric)
        if self.value is not None and (event.get("best") or self.best is None):
            self.best, self.best_step = self.value, self.step
        self.last = float(event.get("time", self.last))


@dataclass
class RunState:
    """The whole run: phases, the teachers' pass, the student and the baselines.

    Phases and paces are of events since `since` (unix seconds): an earlier session's would count the hours between.
    """

    since: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    teachers: dict[str, TeacherPass] = field(default_factory=dict)
    training: dict[str, Training] = field(default_factory=dict)
    done: bool = False

    def restart(self, log: str) -> None:
        """Forgets what a log said, since it has been cut back and will be read again."""
        self.training.pop(log, None)
        if log == STUDENT:
            self.phases, self.teachers, self.done = [], {}, False

    def apply(self, log: str, event: Event) -> None:
        """Takes in one event of the run's own log (`STUDENT`), or of a teacher's or baseline's training by its name."""
        if event["event"] in ("plan", "step", "eval", "selector", *FEEDBACK_EVENTS):
            self.training.setdefault(log, Training()).apply(event, self.since)
        elif log == STUDENT:
            self._run_event(event)

    def _run_event(self, event: Event) -> None:
        now = float(event.get("time", 0))
        match event["event"]:
            case "phase" if now >= self.since:
                self._end_phase(now)
                self.phases.append(Phase(str(event.get("phase", "")), now))
                self.done = False
            case "targets":
                seen = self.teachers.setdefault(str(event.get("teacher", "teacher")), TeacherPass())
                seen.rows, seen.of, seen.last = int(event.get("rows", 0)), int(event.get("of", 0)), now
                if now >= self.since and (seen.first is None or seen.rows < seen.first[1]):
                    seen.first = (now, seen.rows)
            case "done":
                self._end_phase(now)
                self.done = True

    def _end_phase(self, now: float) -> None:
        for training in self.training.values():
            if training.step > 0 and training.ended is None:
                training.ended = now
        if self.phases and self.phases[-1].end is None:
            self.phases[-1].end = now

"""A study so far, folded from the events of its log: every trial's values, state and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raykd.records.events import Event, StudyPlanEvent, TrialEndedEvent, TrialReportEvent, TrialStartedEvent
from raykd.records.log import read_events

State = Literal["running", "done", "stopped", "failed"]


@dataclass
class TrialState:
    """One trial so far.

    Attributes:
        number: its place in the order in which trials began, from 0.
        params: the searched keys and their values.
        of: the trial that this one repeats with another seed.
        value: the best metric so far.
        asked: rows times teachers that its student asked for.
        values: (step, best metric so far) at each evaluation.
        begun, newest, ended: unix seconds of its last start, of its newest event, of its end (None while it runs).
        seconds: of all its sessions; one that was killed counts up to its newest event.
        reason: why it failed, or ended before its time.
    """

    name: str
    number: int
    params: dict[str, Any] = field(default_factory=dict)
    of: str | None = None
    state: State = "running"
    value: float | None = None
    step: int = 0
    epoch: float = 0.0
    asked: int = 0
    parameters: int | None = None
    latency_ms: float | None = None
    values: list[tuple[int, float]] = field(default_factory=list)
    begun: float = 0.0
    newest: float = 0.0
    ended: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def apply(self, event: TrialStartedEvent | TrialReportEvent | TrialEndedEvent) -> None:
        """Takes in one event of this trial."""
        match event:
            case TrialStartedEvent():
                self.seconds += max(0.0, self.newest - self.begun) if self.ended is None else 0.0
                self.params, self.of = event.params, event.of
                self.state, self.begun, self.ended, self.reason = "running", event.time, None, ""
            case TrialReportEvent():
                self._reported(event)
            case TrialEndedEvent():
                self.state, self.ended, self.reason = event.state, event.time, event.reason
                self.seconds += event.time - self.begun
        self.newest = event.time

    def _reported(self, event: TrialReportEvent) -> None:
        self.step, self.epoch, self.value = event.step or 0, event.epoch or 0.0, event.value
        self.asked = event.asked or self.asked
        self.parameters = event.parameters if event.parameters is not None else self.parameters
        self.latency_ms = event.latency_ms if event.latency_ms is not None else self.latency_ms
        self.params = event.params or self.params
        if self.value is not None and (not self.values or self.values[-1][0] != self.step):
            self.values.append((self.step, self.value))


@dataclass
class StudyState:
    """A study: its plan, and all trials in the order in which they began.

    Attributes:
        metric: empty before the plan: then the log is no study's.
        trials: planned.
        keys: the searched ones.
        all: by name.
    """

    metric: str = ""
    trials: int = 0
    keys: list[str] = field(default_factory=list)
    all: dict[str, TrialState] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> StudyState:
        """A study's folder, finished or not. Of a run's folder, or none, the state is empty."""
        state = cls()
        for event in read_events(Path(folder) / "metrics.jsonl"):
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """Takes in one event of the study's log; others than its own are passed over."""
        match event:
            case StudyPlanEvent():
                self.metric, self.trials, self.keys = event.metric, event.trials, event.keys
            case TrialStartedEvent() | TrialReportEvent() | TrialEndedEvent():
                self.all.setdefault(event.trial, TrialState(event.trial, len(self.all))).apply(event)

    @property
    def searched(self) -> list[TrialState]:
        """The trials of the search, without their repetitions."""
        return [trial for trial in self.all.values() if trial.of is None]

    @property
    def repeated(self) -> list[TrialState]:
        """The repetitions with other seeds."""
        return [trial for trial in self.all.values() if trial.of is not None]

    def count(self, state: State) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.all.values())

    @property
    def best(self) -> TrialState | None:
        """The finished or running trial with the best value."""
        known = [trial for trial in self.all.values() if trial.value is not None and trial.state != "failed"]
        return max(known, key=lambda trial: trial.value or 0.0, default=None)

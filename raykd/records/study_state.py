"""Where a study stands, folded from the events of its log: every trial's values, state and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from raykd.records.log import Event

State = Literal["running", "done", "stopped", "failed"]


@dataclass
class TrialState:
    """One trial, as far as it has told.

    Attributes:
        point: the searched keys and their values.
        of: the trial that this one repeats with another seed.
        values: (step, best metric so far) at each evaluation.
        seconds: in all sessions, those that were killed counted up to their last word.
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
    told: float = 0.0
    ended: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def apply(self, event: Event) -> None:
        """Takes in one event of this trial."""
        now = float(event.get("time", 0))
        match event["event"]:
            case "trial_started":
                self.seconds += max(0.0, self.told - self.begun) if self.ended is None else 0.0
                self.params, self.of = event.get("params") or {}, event.get("of")
                self.state, self.begun, self.ended, self.reason = "running", now, None, ""
            case "trial_report":
                self.step, self.epoch = int(event.get("step") or 0), float(event.get("epoch") or 0)
                self.value, self.asked = event.get("value"), int(event.get("asked") or self.asked)
                self.parameters = event.get("parameters", self.parameters)
                self.latency_ms = event.get("latency_ms", self.latency_ms)
                self.params = event.get("params") or self.params
                if self.value is not None and (not self.values or self.values[-1][0] != self.step):
                    self.values.append((self.step, self.value))
            case "trial_ended":
                self.state, self.ended, self.reason = event.get("state", "done"), now, str(event.get("reason") or "")
                self.seconds += now - self.begun
        self.told = now


@dataclass
class StudyState:
    """All trials in the order in which they began."""

    metric: str = ""
    trials: int = 0
    concurrency: int = 0
    keys: list[str] = field(default_factory=list)
    all: dict[str, TrialState] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Takes in one event of the study's log; others than its own are passed over."""
        if event["event"] == "study_plan":
            self.metric, self.trials = str(event.get("metric", "")), int(event.get("trials", 0))
            self.concurrency, self.keys = int(event.get("concurrency", 0)), list(event.get("keys", []))
        elif event["event"] in ("trial_started", "trial_report", "trial_ended"):
            name = str(event.get("trial"))
            self.all.setdefault(name, TrialState(name, len(self.all))).apply(event)

    @property
    def searched(self) -> list[TrialState]:
        """The trials of the search, without their repetitions."""
        return [one for one in self.all.values() if one.of is None]

    @property
    def repeated(self) -> list[TrialState]:
        """The repetitions with other seeds."""
        return [one for one in self.all.values() if one.of is not None]

    def count(self, state: State) -> int:
        """How many trials are in a state."""
        return sum(one.state == state for one in self.all.values())

    @property
    def best(self) -> TrialState | None:
        """The finished or running trial with the best value."""
        known = [one for one in self.all.values() if one.value is not None and one.state != "failed"]
        return max(known, key=lambda one: one.value or 0.0, default=None)

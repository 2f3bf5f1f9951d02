"""The students of several domains so far, folded from the events of their common log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from raykd.records.events import DomainEndedEvent, DomainsPlanEvent, DomainStartedEvent, Event
from raykd.records.log import read_events

State = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass
class DomainState:
    """The run of one domain so far.

    Attributes:
        folder: within the whole one.
        value: of its student, where it is done.
        reason: why it failed or was stopped.
        begun, ended: unix seconds of its last start and end.
    """

    name: str
    folder: str
    state: State = "waiting"
    value: float | None = None
    reason: str = ""
    begun: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """Of its last session, where that has ended."""
        return 0.0 if self.begun is None or self.ended is None else self.ended - self.begun

    def apply(self, event: DomainStartedEvent | DomainEndedEvent) -> None:
        """Takes in one event of this domain."""
        match event:
            case DomainStartedEvent():
                self.state, self.reason, self.begun, self.ended = "running", "", event.time, None
            case DomainEndedEvent():
                self.state, self.value, self.reason, self.ended = event.state, event.value, event.reason, event.time


@dataclass
class DomainsState:
    """All domains in the order of their plan.

    Attributes:
        metric: empty before the plan: then the log is not that of several domains.
        named: they were named; else they are all of the data.
    """

    metric: str = ""
    named: bool = False
    all: dict[str, DomainState] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> DomainsState:
        """A folder of several domains, finished or not. Of another folder, or none, the state is empty."""
        state = cls()
        for event in read_events(Path(folder) / "metrics.jsonl"):
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """Takes in one event of the log; others than its own are passed over."""
        match event:
            case DomainsPlanEvent():
                self.metric, self.named = event.metric, event.named
                before = self.all
                self.all = {name: DomainState(name, folder) for name, folder in event.domains.items()}
                # A session that was killed has left its domains running: they wait again.
                self.all |= {name: old for name, old in before.items() if old.state == "done" and name in self.all}
            case DomainStartedEvent() | DomainEndedEvent() if event.domain in self.all:
                self.all[event.domain].apply(event)

    def count(self, state: State) -> int:
        """How many domains are in a state."""
        return sum(domain.state == state for domain in self.all.values())

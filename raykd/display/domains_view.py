"""Draws the students of several domains so far: what they share above, then a line for each domain."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from raykd.display.durations import clock, duration
from raykd.display.progress import RunProgress
from raykd.display.run_view import RunView
from raykd.records.domains_state import DomainsState, DomainState, State
from raykd.records.events import DomainEndedEvent, DomainStartedEvent, EvalEvent, Event
from raykd.records.run_state import RunState, TrainingState, logs

STYLES: dict[State, str] = {"waiting": "dim", "running": "cyan", "done": "", "failed": "red", "stopped": "yellow"}


class DomainsView:
    """A rich renderable of a `DomainsState` at a given time (unix seconds), below the phases that all have in common.

    Args:
        runs: the state of each domain's run.
    """

    def __init__(self, above: RunView, state: DomainsState, runs: dict[str, RunState], now: float) -> None:
        self.above, self.state, self.runs, self.now = above, state, runs, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts: list[RenderableType] = [self.above]
        if self.state.all:
            parts += ["", self._headline(), self._table()]
        yield from console.render(Group(*parts), options)

    def _headline(self) -> Text:
        counted = [f"{self.state.count(state)} {state}" for state in STYLES if self.state.count(state)]
        return Text(f"domains: {', '.join(counted)} of {len(self.state.all)}", "bold")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(overflow="ellipsis", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for domain in self.state.all.values():
            doing, spent = self._line(domain), ""
            if domain.begun is not None:
                spent = clock((domain.ended or self.now) - domain.begun)
            table.add_row(Text(domain.name), Text(doing), spent, style=STYLES[domain.state])
        return table

    def _line(self, domain: DomainState) -> str:
        return domain_line(domain, self.state.metric, self.runs.get(domain.name, RunState()), self.now)


def domain_line(domain: DomainState, metric: str, run: RunState, now: float) -> str:
    """What a domain does or came to: `waiting`, `student step 40 of 90, accuracy 0.8125, 0:12 left`, `done 0.841`."""
    if domain.state == "done":
        return "done" if domain.value is None else f"done, {metric} {domain.value:.4f}"
    if domain.state in ("failed", "stopped"):
        return f"{domain.state}: {domain.reason}"
    training = [(name, model) for name, model in run.training.items() if model.steps and not model.done]
    if not training:
        return run.phase or domain.state
    name, model = training[-1]
    return _training(name, model, now)


def _training(name: str, model: TrainingState, now: float) -> str:
    parts = [f"{name} step {model.step:,} of {model.steps:,}"]
    if model.value is not None:
        parts.append(f"{model.metric} {model.value:.4f}")
    left = model.seconds_left(now)
    return ", ".join([*parts, *([] if left is None else [f"{clock(left)} left"])])


class DomainsProgress(RunProgress):
    """Shows the students of several domains: the live lines, or log lines of what each of them does."""

    def __init__(self, folder: Path, enabled: bool | None = None, console: Console | None = None) -> None:
        super().__init__(folder, enabled, console)
        self.domains = DomainsState()
        self.runs: dict[str, RunState] = {}
        self._of: dict[str, tuple[str, str]] = {}  # name of a log of a domain's run → its domain, its name there

    def _read(self, write_lines: bool) -> None:
        super()._read(write_lines)
        if self._logs().keys() - self._tails.keys():  # the common log has just named the domains
            super()._read(write_lines)

    def _logs(self) -> dict[str, Path]:
        found = super()._logs()
        for domain in self.domains.all.values():
            for name, path in logs(self.folder / domain.folder).items():
                whole = f"domain {domain.name}: {name}"
                self._of[whole], found[whole] = (domain.name, name), path
        return found

    def _restart(self, name: str) -> None:
        if name not in self._of:
            super()._restart(name)
            return
        domain, log = self._of[name]
        self._run(domain).restart(log)

    def _apply(self, name: str, event: Event) -> None:
        if name in self._of:
            domain, log = self._of[name]
            self._run(domain).apply(log, event)
            return
        super()._apply(name, event)
        self.domains.apply(event)

    def _run(self, domain: str) -> RunState:
        return self.runs.setdefault(domain, RunState(since=self._start))

    def _view(self, stopped: bool) -> RenderableType:
        now = time.time()
        return DomainsView(RunView(self.state, now, self._start, stopped), self.domains, self.runs, now)

    def _line(self, name: str, event: Event, ready: set[str]) -> str | None:
        if name in self._of:
            domain, log = self._of[name]
            training = self._run(domain).training.get(log)
            evaluated = isinstance(event, EvalEvent) and training is not None
            return f"domain {domain}: {self._evaluation_line(log, training)}" if evaluated and training else None
        match event:
            case DomainStartedEvent():
                return f"domain {event.domain}: started"
            case DomainEndedEvent():
                state = self.domains.all[event.domain]
                line = domain_line(state, self.domains.metric, RunState(), time.time())
                return f"domain {event.domain}: {line}" + (f" after {duration(state.seconds)}" if state.begun else "")
        return super()._line(name, event, ready)

"""Draws a study so far: the teachers' soft targets above, then a table of trials, the running and the best first."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from raykd.display.durations import clock, duration
from raykd.display.progress import RunProgress
from raykd.display.run_view import RunView
from raykd.records.events import Event, TrialEndedEvent
from raykd.records.study_state import StudyState, TrialState

MOST_ROWS = 16
MOST_KEYS = 5
ORDER = {"running": 0, "done": 1, "stopped": 2, "failed": 3}
STYLES = {"running": "cyan", "done": "", "stopped": "dim", "failed": "red"}


class StudyView:
    """A rich renderable of a `StudyState` at a given time (unix seconds), below a run's phases and teachers."""

    def __init__(self, above: RunView, state: StudyState, now: float) -> None:
        self.above, self.state, self.now = above, state, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts: list[RenderableType] = [self.above]
        if self.state.all:
            parts += ["", self._headline(), self._table()]
        yield from console.render(Group(*parts), options)

    def _headline(self) -> Text:
        state = self.state
        counts = [f"{state.count('done')} done", f"{state.count('running')} running"]
        counts += [f"{state.count('stopped')} stopped early"] if state.count("stopped") else []
        counts += [f"{state.count('failed')} failed"] if state.count("failed") else []
        line = Text(f"trials: {', '.join(counts)} of {state.trials}", "bold")
        if state.best is not None and state.best.value is not None:
            line.append(f"   best {state.metric} {state.best.value:.4f} ({state.best.name})", "green")
        return line

    def _table(self) -> Table:
        keys = self.state.keys[:MOST_KEYS]
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("trial", *(key.split(".")[-1] for key in keys)):
            table.add_column(title, overflow="ellipsis", no_wrap=True)
        for title in (self.state.metric, "step", "time"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", overflow="ellipsis", no_wrap=True)
        for trial in self._shown():
            params = [written(trial.params.get(key)) for key in keys]
            value = "" if trial.value is None else f"{trial.value:.4f}"
            spent = trial.seconds + (self.now - trial.begun if trial.ended is None else 0.0)
            cells = [trial.name, *params, value, f"{trial.step:,}", clock(spent)]
            table.add_row(*map(Text, cells), Text(trial.reason or trial.state), style=STYLES[trial.state])
        return table

    def _shown(self) -> list[TrialState]:
        """Those that run, then the best."""
        ordered = sorted(self.state.all.values(), key=lambda trial: (ORDER[trial.state], -(trial.value or 0.0)))
        return ordered[:MOST_ROWS]


class StudyProgress(RunProgress):
    """Shows a study's progress: the live table, or a log line for each trial that ends."""

    def __init__(self, folder: Path, enabled: bool | None = None, console: Console | None = None) -> None:
        super().__init__(folder, enabled, console)
        self.study = StudyState()

    def _apply(self, name: str, event: Event) -> None:
        super()._apply(name, event)
        self.study.apply(event)

    def _view(self, stopped: bool) -> RenderableType:
        now = time.time()
        return StudyView(RunView(self.state, now, self._start, stopped), self.study, now)

    def _line(self, name: str, event: Event, ready: set[str]) -> str | None:
        if not isinstance(event, TrialEndedEvent):
            return super()._line(name, event, ready)
        trial = self.study.all[event.trial]
        params = ", ".join(f"{key.split('.')[-1]} {written(value)}" for key, value in trial.params.items())
        value = "" if trial.value is None else f": {self.study.metric} {trial.value:.4f}"
        reason = f" ({trial.reason})" if trial.reason else ""
        return f"trial {trial.name} {trial.state}{value} after {duration(trial.seconds)}{reason}; {params}"


def written(value: Any) -> str:
    """A searched value in few letters."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.3g}"
        case dict() | list():
            return json.dumps(value)
    return str(value)

"""Draws where a study stands: the teachers' pass above, then a table of trials, the running and the best ones first."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from raykd.display.progress import Progress
from raykd.display.run_view import RunView
from raykd.records.durations import clock, duration
from raykd.records.log import Event
from raykd.records.study_state import StudyState, TrialState

MOST_ROWS = 16
MOST_KEYS = 5
STYLES = {"running": "cyan", "done": "", "stopped": "dim", "failed": "red"}


class StudyView:
    """A rich renderable of a `StudyState` below the phases and teachers of a run's board."""

    def __init__(self, above: RunView, state: StudyState, now: float) -> None:
        self.above, self.state, self.now = above, state, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts: list[RenderableType] = [self.above]
        if self.state.all:
            parts += ["", self._headline(), self._table()]
        yield from console.render(Group(*parts), options)

    def _headline(self) -> Text:
        state = self.state
        said = [f"{state.count('done')} done", f"{state.count('running')} running"]
        said += [f"{state.count('stopped')} stopped early"] if state.count("stopped") else []
        said += [f"{state.count('failed')} failed"] if state.count("failed") else []
        line = Text(f"trials: {', '.join(said)} of {state.trials}", "bold")
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
        for one in self._shown():
            spent = one.seconds + (self.now - one.begun if one.ended is None else 0.0)
            value = "" if one.value is None else f"{one.value:.4f}"
            cells = [one.name, *(written(one.params.get(key)) for key in keys), value, f"{one.step:,}", clock(spent)]
            table.add_row(*map(Text, cells), Text(one.reason or one.state), style=STYLES[one.state])
        return table

    def _shown(self) -> list[TrialState]:
        """Those that run, then the best."""
        order = {"running": 0, "done": 1, "stopped": 2, "failed": 3}
        return sorted(self.state.all.values(), key=lambda one: (order[one.state], -(one.value or 0.0)))[:MOST_ROWS]


class StudyProgress(Progress):
    """Shows a study's progress: the live table, or a log line for each trial that ends."""

    def __init__(self, folder: Path, enabled: bool | None = None, console: Console | None = None) -> None:
        super().__init__(folder, enabled, console)
        self.study = StudyState()

    def _take(self, name: str, event: Event) -> None:
        super()._take(name, event)
        self.study.apply(event)

    def _board(self, stopped: bool) -> RenderableType:
        above = super()._board(stopped)
        assert isinstance(above, RunView)
        return StudyView(above, self.study, time.time())

    def _line(self, name: str, event: Event, known: set[str]) -> str | None:
        if event["event"] != "trial_ended":
            return super()._line(name, event, known)
        one = self.study.all[str(event["trial"])]
        said = ", ".join(f"{key.split('.')[-1]} {written(value)}" for key, value in one.params.items())
        value = "" if one.value is None else f": {self.study.metric} {one.value:.4f}"
        why = f" ({one.reason})" if one.reason else ""
        return f"trial {one.name} {one.state}{value} after {duration(one.seconds)}{why}; {said}"


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

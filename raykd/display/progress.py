"""The live display of a run: a thread that follows its logs; plain log lines where stderr is no terminal."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.logging import RichHandler

from raykd.display.durations import clock, duration
from raykd.display.run_view import RunView, feedback_texts, policy_text
from raykd.records.events import EvalEvent, Event, PhaseEvent, TargetsEvent, TeacherEvalEvent
from raykd.records.log import Tail
from raykd.records.run_state import RunState, TrainingState, logs

log = logging.getLogger("raykd.progress")

SECONDS_BETWEEN_READS = 0.5


class StderrConsole(Console):
    """A console on stderr that raises on a broken pipe: rich's own would end the process and close stdout."""

    def __init__(self, force_terminal: bool | None = None) -> None:
        super().__init__(stderr=True, force_terminal=force_terminal)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError("nobody reads stderr any more")


class RunProgress:
    """Shows a run's progress while the `with` block runs.

    Args:
        folder: the run's folder; its logs need not exist yet.
        enabled: True draws, False writes log lines; None draws where the console is a terminal.
        console: where to draw; default stderr.
    """

    def __init__(self, folder: Path, enabled: bool | None = None, console: Console | None = None) -> None:
        self.folder = Path(folder)
        self.console = console or StderrConsole(enabled or None)
        can_draw = self.console.is_terminal and not self.console.is_dumb_terminal
        self.drawn = can_draw if enabled is None else enabled
        self._start = time.time()
        self.state = RunState(since=self._start)
        self._tails: dict[str, Tail] = {}
        self._newest: dict[str, float] = {}  # per log, the time of the newest event read
        self._stop = threading.Event()
        self._live: Live | None = None
        self._undo: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._follow, name="raykd-progress", daemon=True)

    def __enter__(self) -> RunProgress:
        self._read(write_lines=False)  # what an earlier session wrote is no news
        with ExitStack() as undo:
            if self.drawn:
                undo.callback(self._release_terminal)
                self._take_terminal()
                self._draw()
            self._thread.start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            self._thread.join()
            self._read(write_lines=not self.drawn)
            self._draw(stopped=kind is not None)
        finally:  # a second Ctrl-C must not leave the terminal without its cursor
            self._release_terminal()

    def _follow(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_READS):
            self._read(write_lines=not self.drawn)
            self._draw()

    def _read(self, write_lines: bool) -> None:
        """Folds what was logged since the last call; with `write_lines` new events of interest become log lines."""
        for name, path in self._logs().items():
            events, truncated = self._tails.setdefault(name, Tail(path)).read()
            if truncated:
                self._restart(name)
            # A log that was cut back is read from its beginning: its old events are no news either.
            old = self._newest.get(name, 0.0) if truncated else 0.0
            for event in events:
                ready = {teacher for teacher, targets in self.state.targets.items() if targets.done}
                self._apply(name, event)
                self._newest[name] = max(event.time, self._newest.get(name, 0.0))
                line = self._line(name, event, ready) if write_lines and event.time > old else None
                if line is not None:
                    log.info("%s", line)

    def _logs(self) -> dict[str, Path]:
        """The logs to follow, by name."""
        return logs(self.folder)

    def _restart(self, name: str) -> None:
        self.state.restart(name)

    def _apply(self, name: str, event: Event) -> None:
        self.state.apply(name, event)

    def _line(self, name: str, event: Event, ready: set[str]) -> str | None:
        """The log line of an event; None for most, and for the targets of a teacher that was ready before."""
        match event:
            case PhaseEvent():
                return f"phase: {event.phase}"
            case TargetsEvent() if event.teacher not in ready:
                return self._targets_line(event.teacher)
            case EvalEvent():
                return self._evaluation_line(name, self.state.training[name])
            case TeacherEvalEvent() if event.step:  # at step 0 they are where they began
                feedback = feedback_texts(self.state.training[name])
                return f"teachers at step {event.step:,}: {', '.join(feedback)}" if feedback else None
        return None

    def _targets_line(self, teacher: str) -> str | None:
        targets = self.state.targets[teacher]
        if not targets.done:
            return None
        line = f"teacher {teacher}: {targets.of:,} rows of soft targets available"
        if targets.first is None or targets.rows_per_s is None:
            return line
        return f"{line}, {targets.rows_per_s:,.0f} rows/s over {duration(targets.last - targets.first[0])}"

    def _evaluation_line(self, name: str, training: TrainingState) -> str:
        parts = [f"{name} step {training.step:,} of {training.steps:,}, epoch {training.epoch:.2f}"]
        if training.value is not None and training.best is not None:
            best = f"best {training.best:.4f} at step {training.best_step:,}"
            parts.append(f"{training.metric} {training.value:.4f} ({best})")
        if "loss" in training.losses:
            parts.append(f"loss {training.losses['loss']:.4f}")
        if training.samples_per_s is not None:
            parts.append(f"{training.samples_per_s:,.0f} samples/s")
        if training.wait_share is not None:
            parts.append(f"waiting {training.wait_share:.1%}")
        if training.policy is not None:
            parts.append(policy_text(training))
        left = training.seconds_left(time.time())
        if left is not None and not training.done:
            parts.append(f"{clock(left)} left")
        return ", ".join(parts)

    def _view(self, stopped: bool) -> RenderableType:
        return RunView(self.state, time.time(), self._start, stopped)

    def _draw(self, stopped: bool = False) -> None:
        if self._live is None:
            return
        try:
            self._live.update(self._view(stopped), refresh=True)
        except (OSError, ValueError) as error:  # the terminal is gone or lacks a character; the run continues
            log.warning("the progress display ends here: %s", error)
            self._release_terminal()

    def _take_terminal(self) -> None:
        """Starts the display; log handlers that write to stderr then write above it, through rich's stand-in."""
        stderr = sys.stderr
        # A stdout that goes to a file or a pipe is a result and stays as it is.
        self._live = Live(console=self.console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
        self._live.start()
        loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
        for logger in loggers:
            for handler in logger.handlers if isinstance(logger, logging.Logger) else []:
                if isinstance(handler, RichHandler) and handler.console.stderr:
                    self._undo.append(partial(setattr, handler, "console", handler.console))
                    handler.console = self.console
                elif isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                    self._undo.append(partial(handler.setStream, stderr))
                    handler.setStream(sys.stderr)

    def _release_terminal(self) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        with suppress(OSError):
            live.stop()
        while self._undo:
            self._undo.pop()()

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

from raykd.display.run_view import RunView, choices, feedback_text
from raykd.records.durations import clock, duration
from raykd.records.log import Event, Tail
from raykd.records.run_state import STUDENT, RunState, Training

log = logging.getLogger("raykd.progress")

SECONDS_BETWEEN_LOOKS = 0.5


class StderrConsole(Console):
    """A console on stderr that raises on a broken pipe: rich's own would end the process and close stdout."""

    def __init__(self, force_terminal: bool | None = None) -> None:
        super().__init__(stderr=True, force_terminal=force_terminal)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError("nobody reads stderr any more")


class Progress:
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
        self._tails = {STUDENT: Tail(self.folder / "metrics.jsonl")}
        self._newest: dict[str, float] = {}  # per log, the time of the newest event seen
        self._stop = threading.Event()
        self._live: Live | None = None
        self._give_back: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._follow, name="raykd-progress", daemon=True)

    def __enter__(self) -> Progress:
        self._look(tell=False)  # what an earlier session wrote is known, not news
        with ExitStack() as undo:
            if self.drawn:
                undo.callback(self._give_back_terminal)
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
            self._look(tell=not self.drawn)
            self._draw(stopped=kind is not None)
        finally:  # a second Ctrl-C must not leave the terminal without its cursor
            self._give_back_terminal()

    def _follow(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            self._look(tell=not self.drawn)
            self._draw()

    def _look(self, tell: bool) -> None:
        """Takes in what was written since the last look."""
        for path in self.folder.glob("teachers/*.jsonl"):
            self._tails.setdefault(f"teacher {path.stem}", Tail(path))
        for path in self.folder.glob("baselines/*/metrics.jsonl"):
            self._tails.setdefault(f"baseline {path.parent.name}", Tail(path))
        for name, tail in self._tails.items():
            events, cut = tail.read()
            if cut:
                self.state.restart(name)
            old = self._newest.get(name, 0.0) if cut else 0.0
            for event in events:
                known = {teacher for teacher, one in self.state.teachers.items() if one.done}
                self._take(name, event)
                when = float(event.get("time", 0))
                self._newest[name] = max(when, self._newest.get(name, 0.0))
                line = self._line(name, event, known) if tell and when > old else None
                if line is not None:
                    log.info("%s", line)

    def _line(self, name: str, event: Event, known: set[str]) -> str | None:
        """What a log says of an event; most are worth no line."""
        match event["event"]:
            case "phase":
                return f"phase: {event.get('phase', '')}"
            case "targets":
                teacher = str(event.get("teacher", "teacher"))
                one = self.state.teachers[teacher]
                if not one.done or teacher in known:
                    return None
                seconds = one.last - one.first[0] if one.first else 0.0
                return f"teacher {teacher}: {one.of:,} rows of soft targets at hand" + (
                    f", {one.rows_per_s:,.0f} rows/s over {duration(seconds)}" if one.rows_per_s else ""
                )
            case "eval":
                return self._evaluation(name, self.state.training[name])
            case "teacher_eval" if event.get("step"):  # at step 0 they stand where they began
                learnt = feedback_text(self.state.training[name])
                return f"teachers at step {event['step']:,}: {', '.join(learnt)}" if learnt else None
        return None

    def _evaluation(self, name: str, one: Training) -> str:
        said = [f"{name} step {one.step:,} of {one.steps:,}, epoch {one.epoch:.2f}"]
        if one.value is not None and one.best is not None:
            said.append(f"{one.metric} {one.value:.4f} (best {one.best:.4f} at step {one.best_step:,})")
        if "loss" in one.losses:
            said.append(f"loss {one.losses['loss']:.4f}")
        if one.samples_per_s is not None:
            said.append(f"{one.samples_per_s:,.0f} samples/s")
        if one.wait_share is not None:
            said.append(f"waiting {one.wait_share:.1%}")
        if one.chosen:
            said.append(choices(one))
        left = one.seconds_left(time.time())
        if left is not None and not one.done:
            said.append(f"{clock(left)} left")
        return ", ".join(said)

    def _take(self, name: str, event: Event) -> None:
        self.state.apply(name, event)

    def _board(self, stopped: bool) -> RenderableType:
        return RunView(self.state, time.time(), self._start, stopped)

    def _draw(self, stopped: bool = False) -> None:
        if self._live is None:
            return
        try:
            self._live.update(self._board(stopped), refresh=True)
        except (OSError, ValueError) as error:  # the terminal is gone or cannot say this; the run goes on
            log.warning("the progress display ends here: %s", error)
            self._give_back_terminal()

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
                    self._give_back.append(partial(setattr, handler, "console", handler.console))
                    handler.console = self.console
                elif isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                    self._give_back.append(partial(handler.setStream, stderr))
                    handler.setStream(sys.stderr)

    def _give_back_terminal(self) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        with suppress(OSError):
            live.stop()
        while self._give_back:
            self._give_back.pop()()

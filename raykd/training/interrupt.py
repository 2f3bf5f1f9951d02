"""Ctrl-C and SIGTERM as a request: the run saves a checkpoint and ends; a second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

log = logging.getLogger(__name__)
POLL_S = 0.2
T = TypeVar("T")


class StopFile(threading.Event):
    """The same request to processes that no signal reaches: set while a file is there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def is_set(self) -> bool:
        """Whether the request was made: the file exists."""
        return self.path.exists()

    def set(self) -> None:
        """Makes the request: creates the file."""
        self.path.touch()

    def clear(self) -> None:
        """Withdraws the request: removes the file."""
        self.path.unlink(missing_ok=True)


def in_thread(work: Callable[[], T], stop: threading.Event, pass_on: Callable[[], None]) -> T:
    """What `work` returns or raises; once `stop` is set, `pass_on` hands the request to it.

    In a thread of its own: Ray Train and Ray Tune would otherwise take Ctrl-C for themselves and save no checkpoint.
    """
    done: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:  # carried over to the waiting thread, which raises it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    passed_on = False
    while thread.is_alive():
        thread.join(POLL_S)
        if stop.is_set() and not passed_on:
            passed_on = True
            pass_on()
    if raised:
        raise raised[0]
    return done[0]


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yields an event that the first SIGINT or SIGTERM sets. Outside the main thread signals stay as they are."""
    stop = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        log.warning("stopping: saving a checkpoint first (press Ctrl-C again to stop at once)")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

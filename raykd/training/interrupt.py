"""Ctrl-C and SIGTERM as a request: the run saves a checkpoint and ends; a second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)


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

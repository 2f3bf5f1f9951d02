"""metrics.jsonl: one JSON object a line, flushed line by line, cut back on resume, and readable while it grows."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

Event = dict[str, Any]


class MetricsLog:
    """Appends events to a file. What a killed writer left of its last line is dropped when the log is made.

    The file is opened for each line and not held: driver and worker 0 both write, and `cut` puts another file there.

    Args:
        path: the file; it and its folder are made if they are missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        _drop_half_line(self.path)
        self.path.touch()

    def write(self, event: str, **fields: Any) -> None:
        """Appends one line with the event's name, the time (unix seconds) and the fields; NaN and ∞ become null.

        Raises:
            TypeError: a field is no plain value, list, mapping or numpy scalar.
        """
        said = {"event": event, "time": time.time()} | {key: _plain(value) for key, value in fields.items()}
        line = json.dumps(said, allow_nan=False).encode() + b"\n"
        with self._lock, self.path.open("ab") as file:
            file.write(line)

    def truncate(self, step: int) -> None:
        """Drops the lines of later steps, and the end of the run, so that the log agrees with a checkpoint at `step`.

        The new file takes the old one's place in one move: who reads meanwhile sees the old one or the new one.
        """
        with self._lock:
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _up_to(line, step)]
            if len(kept) == len(lines):  # a fresh start: no need to put a file where another writer may just append
                return
            fresh = self.path.with_name(f"{self.path.name}.cut")
            fresh.write_bytes(b"".join(kept))
            os.replace(fresh, self.path)


class Tail:
    """Reads what was appended to a log since the last call; the file may not be there yet, and may be cut back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> tuple[list[Event], bool]:
        """The new events, and whether the file was cut back: then these are its events from the beginning again."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                truncate = self._offset > 0 and (status.st_ino != self._inode or status.st_size < self._offset)
                self._offset = 0 if truncate else self._offset
                self._inode = status.st_ino
                file.seek(self._offset)
                data = file.read()
        except OSError:  # not there yet, or away for a moment on a network's file system
            return [], False
        end = data.rfind(b"\n") + 1
        self._offset += end
        return _events(data[:end]), truncate


def read_events(path: str | Path) -> list[Event]:
    """All whole events of a log; none if there is no such file. A half last line is left out."""
    return Tail(Path(path)).read()[0]


def _events(data: bytes) -> list[Event]:
    return [event for line in data.splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # half a line that another writer continued behind
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _up_to(line: bytes, step: int) -> bool:
    event = _event(line)
    return event is not None and event["event"] != "done" and event.get("step", 0) <= step


def _drop_half_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def _plain(value: Any) -> Any:
    """Numpy scalars as Python's, and what JSON cannot say (NaN, ∞) as null, at any depth."""
    match value:
        case np.generic():
            return _plain(value.item())
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value

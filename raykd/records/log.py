"""metrics.jsonl: one event a line, flushed line by line, cut back on resume, and readable while it grows."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from raykd.files import replacing
from raykd.records.events import Event, parse_event


class MetricsLog:
    """Appends events to a file. What a killed writer left of its last line is dropped when the log is made.

    The file is opened for each line and not held: driver and worker 0 both write, and `truncate` replaces it.

    Args:
        path: the file; it and its folder are made if they are missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        _drop_half_line(self.path)
        self.path.touch()

    def write(self, event: Event) -> None:
        """Appends one line; NaN and infinite floats become null, numpy scalars plain numbers.

        Raises:
            ValueError: a value is no plain one, list, mapping or numpy scalar; nothing is written.
        """
        line = event.model_dump_json(fallback=_plain).encode() + b"\n"
        with self._lock, self.path.open("ab") as file:
            file.write(line)

    def truncate(self, step: int) -> None:
        """Drops the events of later steps, and the end of the run, so that the log agrees with a checkpoint at `step`.

        The new file takes the old one's place in one move: a reader sees the old one or the new one.
        """
        with self._lock:
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _up_to(line, step)]
            if len(kept) == len(lines):  # a fresh start: no need to put a file where another writer may just append
                return
            with replacing(self.path) as draft:
                draft.write_bytes(b"".join(kept))


class Tail:
    """Reads what was appended to a log since the last call; the file may not exist yet, and may be cut back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> tuple[list[Event], bool]:
        """The new events, and whether the file was cut back: then these are its events from the beginning again."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                truncated = self._offset > 0 and (status.st_ino != self._inode or status.st_size < self._offset)
                self._offset = 0 if truncated else self._offset
                self._inode = status.st_ino
                file.seek(self._offset)
                data = file.read()
        except OSError:  # not there yet, or away for a moment on a network's file system
            return [], False
        end = data.rfind(b"\n") + 1
        self._offset += end
        return [event for line in data[:end].splitlines() if (event := parse_event(line)) is not None], truncated


def read_events(path: str | Path) -> list[Event]:
    """All whole events of a log; none if there is no such file. Half lines and unknown kinds are left out."""
    return Tail(Path(path)).read()[0]


def _up_to(line: bytes, step: int) -> bool:
    """Whether a line is an event that a checkpoint at `step` has seen. Kinds of another version are kept too."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # half a line, with another writer's behind it
        return False
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or event["event"] == "done":
        return False
    at_step = event.get("step")
    return not isinstance(at_step, (int, float)) or at_step <= step


def _drop_half_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def _plain(value: Any) -> Any:
    """What pydantic cannot write itself, within `params`."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"an event cannot hold a {type(value).__name__}")

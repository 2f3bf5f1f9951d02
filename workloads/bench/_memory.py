"""How far a process's memory rises above where it stood; of any Linux process, by what the kernel keeps of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Self

PROCESS = Path("/proc/self")
MB = 2**10  # the kernel says kB


def mark(of: Any = None) -> float:
    """Forgets the peak so far; returns MB resident now.

    Args:
        of: an actor, where this is called in its process.
    """
    (PROCESS / "clear_refs").write_text("5")
    return _status("VmRSS")


def peak(of: Any = None) -> float:
    """The largest MB resident since `mark`."""
    return _status("VmHWM")


class Watch:
    """Looks at several processes' memory all the time; a context manager.

    Attributes:
        names: of the processes, as they were added.
    """

    EVERY_S = 0.1

    def __init__(self) -> None:
        self.names: dict[str, Path] = {}
        self._first: dict[str, dict[str, float]] = {}
        self._most: dict[str, dict[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def add(self, name: str, pid: int) -> None:
        """From here on this process counts, less what it has now."""
        process = Path("/proc") / str(pid)
        self._first[name] = self._most[name] = _resident(process)
        self.names[name] = process

    def grown(self, name: str) -> dict[str, float]:
        """Bytes by which a process grew at most: `own` memory, and `all` with the files that it has mapped."""
        return {kind: self._most[name][kind] - before for kind, before in self._first[name].items()}

    def _look_on(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            for name, process in list(self.names.items()):
                try:
                    now = _resident(process)
                except OSError:  # it has ended
                    continue
                self._most[name] = {kind: max(most, now[kind]) for kind, most in self._most[name].items()}


def _resident(process: Path) -> dict[str, float]:
    return {kind: _status(key, process) * MB * 2**10 for kind, key in (("own", "RssAnon"), ("all", "VmRSS"))}


def _status(key: str, process: Path = PROCESS) -> float:
    lines = (process / "status").read_text().splitlines()
    return next(float(line.split()[1]) / MB for line in lines if line.startswith(f"{key}:"))

"""How far a process's memory rises above where it stood; of any Linux process, by what the kernel keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def _status(key: str) -> float:
    lines = (PROCESS / "status").read_text().splitlines()
    return next(float(line.split()[1]) / MB for line in lines if line.startswith(f"{key}:"))

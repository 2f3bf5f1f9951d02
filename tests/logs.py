"""What the tests read of a run's metrics.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raykd.records.log import read_events


def events(folder: Path, kind: str) -> list[Any]:
    """All events of this name in a run's log, oldest first."""
    return [event for event in read_events(folder / "metrics.jsonl") if event.event == kind]


def losses(folder: Path) -> list[float]:
    """The student's loss of every logged step."""
    return [event.loss for event in events(folder, "step")]


def step_times(folder: Path) -> list[float]:
    """When each logged step was written. A run that starts over writes them all again; a resumed one keeps those that
    its checkpoint has seen."""
    return [event.time for event in events(folder, "step")]

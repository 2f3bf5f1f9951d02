"""What a log says, and the board that is drawn of it."""

import io
from typing import Any

from rich.console import Console

from raykd.display.run_view import RunView
from raykd.records.run_state import RunState

PLAN = {"steps": 100, "epochs": 4, "samples": 800, "batch_size": 32, "metric": "accuracy"}


def board(state: RunState, now: float = 100.0, width: int = 100, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    console.print(RunView(state, now, start=0.0))
    file.seek(0)
    return file.read()


def taught(version: int, value: float) -> dict[str, object]:
    return {"version": version, "scores": {"accuracy": value}, "drift": 0.001}


def lesson(step: int, **quiz: float | None) -> dict[str, Any]:
    return {"event": "feedback", "step": step, "time": 3.0, "teachers": {"bert-a": {"version": step}}} | quiz

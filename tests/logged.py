"""Events as a run writes them, with what a test leaves open filled in, and the view that is drawn of a state."""

import io
from typing import Any

from rich.console import Console

from raykd.display.run_view import RunView
from raykd.records.events import (
    EvalEvent,
    FeedbackEvent,
    PlanEvent,
    PolicyEvent,
    StepEvent,
    TargetsEvent,
    TeacherEvalEvent,
    TeacherScores,
    TeacherStep,
)
from raykd.records.run_state import RunState

EPOCH = 25
"""Optimizer steps of an epoch."""


def plan(**fields: Any) -> PlanEvent:
    """100 steps, 4 epochs."""
    return PlanEvent(**{"steps": 100, "epochs": 4, "samples": 800, "batch_size": 32, "metric": "accuracy"} | fields)


def step(number: int, **fields: Any) -> StepEvent:
    """A step of a student with a loss of 0.5."""
    filled = {"lr": 1e-3, "loss": 0.5, "hard": 0.5, "grad_norm": 1.0, "samples_per_s": 512.3, "wait_share": 0.0}
    return StepEvent(**{"step": number, "epoch": number / EPOCH} | filled | fields)


def evaluation(number: int, value: float | None, **fields: Any) -> EvalEvent:
    """An evaluation with this accuracy."""
    filled = {"step": number, "epoch": number / EPOCH, "scores": {"accuracy": value}, "loss": 0.5, "best": True}
    return EvalEvent(**filled | fields)


def targets(rows: int, of: int, teacher: str = "bert-a", **fields: Any) -> TargetsEvent:
    """A report on a teacher's soft targets."""
    return TargetsEvent(teacher=teacher, rows=rows, of=of, **fields)


def feedback(number: int, names: tuple[str, ...] = ("bert-a",), **fields: Any) -> FeedbackEvent:
    """A round in which each teacher makes as many steps as the student has made."""
    steps = {name: TeacherStep(version=number, grad_norm=1.0, lr=1e-5) for name in names}
    filled = {"teachers": steps, "seconds": 0.05, "wire_bytes": 8192 * number}
    return FeedbackEvent(**{"step": number, "epoch": number / EPOCH} | filled | fields)


def teacher_evaluation(
    number: int, value: float, teachers: tuple[str, ...] = ("bert-a",), **fields: Any
) -> TeacherEvalEvent:
    """All these teachers with this accuracy."""
    scores = {name: TeacherScores(version=number, scores={"accuracy": value}, drift=0.001) for name in teachers}
    return TeacherEvalEvent(**{"step": number, "epoch": number / EPOCH, "teachers": scores} | fields)


def policy(number: int, share: dict[str, float], **fields: Any) -> PolicyEvent:
    """An update of the policy."""
    filled = {"version": 1, "reward": -0.5, "entropy": 1.0, "rows": 32}
    return PolicyEvent(**{"step": number, "epoch": number / EPOCH, "share": share} | filled | fields)


def view(state: RunState, now: float = 100.0, width: int = 100, encoding: str = "utf-8") -> str:
    """What a terminal of this width and encoding shows."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    console.print(RunView(state, now, start=0.0))
    file.seek(0)
    return file.read()

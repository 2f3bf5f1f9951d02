"""A result in words and written numbers: honest where the student gained nothing, or where nobody can know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from raykd.config import baseline_rules, title_of

METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "mean squared error",
}
SHORT = METRICS | {"matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman", "mse": "MSE"}
RULES = {rule: title_of("weighting", rule) for rule in baseline_rules()}
BASELINES = {
    "alone": "the same student, trained without a teacher",
    "in_loop": "the same student, its teachers called in its own loop",
    **{name: f"the same student, {said}" for name, said in RULES.items()},
}


@dataclass(frozen=True)
class Verdict:
    """What distillation gave, as one sentence."""

    tone: Literal["good", "even", "bad", "unknown"]
    sentence: str


def verdict(result: dict[str, Any]) -> Verdict:
    """Student against the same student alone and the best teacher, from `gap` of result.json."""
    gap = result.get("gap", {})
    student, alone, teacher = gap.get("student"), gap.get("alone"), gap.get("teacher")
    if student is None or alone is None:
        return Verdict(
            "unknown",
            "No student was trained without a teacher, so what the teachers added is not known "
            "(put `alone` under baselines to learn it).",
        )
    without = f"the same student trained without a teacher ({number(alone)})"
    change = student - alone
    if number(student) == number(alone):
        return Verdict("even", f"Distillation made no difference: {without} did as well.")
    if change < 0:
        return Verdict("bad", f"Distillation did not pay here: {without} did better, by {number(-change)}.")
    if teacher is None:
        return Verdict("good", f"Distillation beat {without} by {number(change)}.")
    if teacher <= alone:
        return Verdict(
            "good",
            f"Distillation beat {without} by {number(change)}, although its best teacher ({number(teacher)}) is no "
            "better than that: there was no gap to close.",
        )
    if student >= teacher:
        return Verdict(
            "good", f"Distillation closed the whole gap between {without} and its best teacher ({number(teacher)})."
        )
    closed = (student - alone) / (teacher - alone)
    return Verdict(
        "good",
        f"Distillation closed {share(closed)} of the gap between {without} and its best teacher ({number(teacher)}).",
    )


def reached(result: dict[str, Any]) -> str:
    """`The student reached an accuracy of 0.834 on 872 validation rows.`"""
    name = METRICS.get(result.get("metric", ""), result.get("metric", "value"))
    rows = validation_rows(result)
    return f"The student reached {article(name)} {name} of {number(result.get('value'))}" + (
        f" on {rows:,} validation rows." if rows else " on validation."
    )


def article(name: str) -> str:
    """`an` accuracy, `a` correlation."""
    return "an" if name[0] in "aeiouF" else "a"


def caution(result: dict[str, Any]) -> str:
    """How far chance moves an accuracy on so few rows, where that is known; else nothing."""
    rows, value, gap = validation_rows(result), result.get("value"), result.get("gap", {})
    if result.get("metric") != "accuracy" or not rows or value is None:
        return ""
    low, high = interval(value, rows)
    margin = (high - low) / 2
    said = f"On {rows:,} rows chance alone moves an accuracy by about ±{number(margin)} (95 %)"
    student, alone = gap.get("student"), gap.get("alone")
    if student is not None and alone is not None and 0 < abs(student - alone) < margin:
        return f"{said}: the difference of {number(abs(student - alone))} is smaller, so one seed does not settle it."
    return f"{said}."


def interval(accuracy: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share that was measured on so many rows."""
    centre = (accuracy + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(accuracy * (1 - accuracy) / rows + z * z / (4 * rows * rows))
    return centre - half, centre + half


def validation_rows(result: dict[str, Any]) -> int:
    """0 when the result does not say."""
    return int(result.get("splits", {}).get("validation", {}).get("rows", 0))


def number(value: float | None) -> str:
    """A metric's value; a dash when there is none."""
    return "-" if value is None else f"{value:.3f}"


def difference(value: float | None) -> str:
    """A metric's gain or loss, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def share(value: float | None) -> str:
    """`47 %`; a dash when there is none, one decimal place below ten per cent and above 99."""
    if value is None:
        return "-"
    fine = abs(value) < 0.0995 or 0.99 < value < 1
    return f"{100 * value:.1f} %".replace(".0 %", " %") if fine else f"{100 * value:.0f} %"


def taught(result: dict[str, Any], name: str) -> tuple[float, float] | None:
    """The metric that a teacher began and ended with, where it learnt from the student and both are known."""
    one = ((result.get("feedback") or {}).get("teachers") or {}).get(name) or {}
    metric = result.get("metric", "")
    began, ended = ((one.get(key) or {}).get(metric) for key in ("began", "ended"))
    return None if began is None or ended is None else (began, ended)


def size(length: float) -> str:
    """`3.2 MB` of a number of bytes, in powers of ten."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if length >= unit:
            return f"{length / unit:.3g} {name}"
    return f"{length:,.0f} B"


def percent(value: float) -> str:
    """`0.0412 %`: a share that may be very small, such as a drift."""
    return f"{100 * value:.3g} %"


def layers(model: dict[str, Any]) -> str:
    """`2 layers, 384 wide`, as far as it is known."""
    if not model.get("layers"):
        return ""
    said = "1 layer" if model["layers"] == 1 else f"{model['layers']} layers"
    return f"{said}, {model['hidden_size']} wide" if model.get("hidden_size") else said


def count(value: float | None) -> str:
    """`22.7 M`, `184 k`, `812`."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"

"""The value of each model of a run in tables: on test where every model was scored on it, else on validation."""

from __future__ import annotations

from raykd.display.text import before_and_after, difference, metric_name, number
from raykd.records.run_result import BaselineResult, RunResult, TeacherResult, validation_value


def value_titles(result: RunResult, name: str | None = None) -> list[str]:
    """The titles of the columns of `value_cells`; `name` is the metric's, by default as in a sentence."""
    name = name or metric_name(result.metric)
    return [f"{name} on test", "against alone", "validation"] if _on_test(result) else [name, "against alone"]


def value_cells(
    result: RunResult, model: RunResult | BaselineResult | TeacherResult, arrow: str = "→", alone: bool = False
) -> list[str]:
    """A model's reported value, its gain over the student alone and, where the first is of the test split, its value on
    validation.

    A teacher trained by feedback has its value before and after on validation; on test as it was served, before.

    Args:
        model: the result itself is the student.
        alone: this is the baseline `alone`.
    """
    trained = before_and_after(result, model.name) if isinstance(model, TeacherResult) else None
    value = validation_value(model) if trained is None else trained[1]
    validation = number(value) if trained is None else f"{number(trained[0])} {arrow} {number(value)}"
    reported = result.reported_value(model) if _on_test(result) else value
    without = result.gap.alone
    gain = "-" if alone or reported is None or without is None else difference(reported - without)
    return [number(reported), gain, validation] if _on_test(result) else [validation, gain]


def _on_test(result: RunResult) -> bool:
    return result.reported_split == "test"

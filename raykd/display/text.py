"""A run's result in sentences, and numbers as they are written: plain where the student gained nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from raykd.config import TeacherConfig, TrainedTeacherConfig, baseline_described, baseline_rules, title_of
from raykd.records.run_result import BaselineResult, GroupResult, RunResult

METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "mean squared error",
}
SHORT = METRICS | {"matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman", "mse": "MSE"}
TRAINED = {name: kind.trained for name, kind in TeacherConfig.types().items() if issubclass(kind, TrainedTeacherConfig)}
"""What of a teacher's preparation is done to it, by its type; of one that is used as given nothing is."""
RULES = {rule: title_of("weighting", rule) for rule in baseline_rules()}
BASELINES = {
    "alone": "the same student, trained without a teacher",
    "in_loop": "the same student, its teachers called in its own loop",
    "labeled": "the same student, distilled on the rows with labels alone",
    "pseudo": "the same student, trained on the teachers' answers as hard labels",
    "quiz_student": "the same student, frozen teachers, trained on the quiz rows too",
    "quiz_teacher": "the same student, its teachers trained on the quiz's labels and frozen",
    **{rule: f"the same student, {baseline_described(rule)}" for rule in baseline_rules()},
}


@dataclass(frozen=True)
class Verdict:
    """What distillation gave, as a sentence; the tone chooses its colour."""

    tone: Literal["good", "even", "bad", "unknown"]
    sentence: str


def verdict(result: RunResult) -> Verdict:
    """The student against the same student trained alone and against the best teacher."""
    student, alone, teacher = result.gap.student, result.gap.alone, result.gap.teacher
    if student is None or alone is None:
        return Verdict(
            "unknown",
            "No student was trained without a teacher, so what the teachers added is not known "
            "(add `alone` to `baselines` to measure it).",
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


def reached(result: RunResult) -> str:
    """`The student reached an accuracy of 0.834 on 872 validation rows.`, or on the test rows where it has those."""
    name, split = metric_name(result.metric), result.reported_split
    rows = result.rows_of(split)
    where = f"{rows:,} {split} rows" if rows else split
    value = number(result.reported_value(result))
    return f"The student reached {article(name)} {name} of {value} on {where}{_chosen(result)}."


def _chosen(result: RunResult) -> str:
    """What the checkpoint was chosen by, where that is not what is reported."""
    return "" if result.reported_split == "validation" else f" ({number(result.value)} on validation, which chose it)"


def metric_name(metric: str) -> str:
    """A metric as a sentence names it."""
    return METRICS.get(metric, metric)


def short_name(metric: str) -> str:
    """A metric as a column's title names it."""
    return SHORT.get(metric, metric)


def article(name: str) -> str:
    """The article of a metric's name: `an` accuracy, `a` correlation."""
    return "an" if name[0] in "aeiouF" else "a"


def caution(result: RunResult) -> str:
    """How far chance moves an accuracy on so few rows; empty for other metrics, and where the rows are not known."""
    rows = result.rows_of(result.reported_split)
    half = margin(result.metric, result.reported_value(result), rows)
    if half is None:
        return ""
    sentence = f"On {rows:,} rows chance alone moves an accuracy by about ±{number(half)} (95 %)"
    student, alone = result.gap.student, result.gap.alone
    if student is not None and alone is not None and 0 < abs(student - alone) < half:
        return (
            f"{sentence}: the difference of {number(abs(student - alone))} is smaller, so one seed does not settle it."
        )
    return f"{sentence}."


def margin(metric: str, value: float | None, rows: int) -> float | None:
    """Half the 95 % interval of an accuracy measured on so many rows; None for other metrics and unknown rows."""
    if metric != "accuracy" or value is None or not rows:
        return None
    low, high = interval(value, rows)
    return (high - low) / 2


def interval(accuracy: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share that was measured on so many rows."""
    centre = (accuracy + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(accuracy * (1 - accuracy) / rows + z * z / (4 * rows * rows))
    return centre - half, centre + half


def before_and_after(result: RunResult, teacher: str) -> tuple[float, float] | None:
    """The run's metric of a teacher under feedback, before and after; None where it is frozen or one is not known."""
    trained = result.feedback.teachers.get(teacher) if result.feedback else None
    if trained is None:
        return None
    began, ended = trained.began.get(result.metric), trained.ended.get(result.metric)
    return None if began is None or ended is None else (began, ended)


def tuned_teachers(result: RunResult, baseline: BaselineResult, arrow: str = "→") -> list[str]:
    """`teacher bert on validation 0.811 → 0.842` of each teacher that was trained for this baseline."""
    return [
        f"teacher {name} on validation "
        f"{number(trained.began.get(result.metric))} {arrow} {number(trained.ended.get(result.metric))}"
        for name, trained in baseline.teachers.items()
    ]


def number(value: float | None) -> str:
    """A metric's value; a dash when there is none. What rounds to 0 has no sign, so that equal values have one text."""
    return "-" if value is None else f"{value:z.3f}"


def difference(value: float | None) -> str:
    """A metric's gain or loss, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def count_of(value: int | None) -> str:
    """`1,234`; a dash when there is none."""
    return "-" if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """`47 %`; a dash when there is none, a decimal place below ten per cent and above 99."""
    if value is None:
        return "-"
    fine = abs(value) < 0.0995 or 0.99 < value < 1
    return f"{100 * value:.1f} %".replace(".0 %", " %") if fine else f"{100 * value:.0f} %"


def size(length: float) -> str:
    """`3.2 MB` of a number of bytes, in powers of ten."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if length >= unit:
            return f"{length / unit:.3g} {name}"
    return f"{length:,.0f} B"


def percent(value: float) -> str:
    """`0.0412 %`: a share that may be very small, such as a drift."""
    return f"{100 * value:.3g} %"


def layers(number_of: int | None, width: int | None = None) -> str:
    """`2 layers, 384 wide`, as far as it is known."""
    if not number_of:
        return ""
    counted = "1 layer" if number_of == 1 else f"{number_of} layers"
    return f"{counted}, {width} wide" if width else counted


def count(value: float | None) -> str:
    """`22.7 M`, `184 k`, `812`."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def plural(number_of: int, singular: str) -> str:
    """A number with its noun: `1 round`, `1,200 rounds`."""
    return f"{number_of:,} {singular}{'s' * (number_of != 1)}"


def groups_kept(groups: GroupResult) -> str:
    """What was kept on one side of every holdout, and how many held-out rows stand inside a row that is learnt from."""
    by = "texts that stand inside others" if groups.by == "contained" else f"the column {groups.by}"
    inside = ", ".join(f"{rows:,} of {name}" for name, rows in groups.inside.items())
    counted = f" Held-out rows that stand inside a row that is learnt from: {inside}." if inside else ""
    return f"{plural(groups.groups, 'group')} by {by}, each on one side of every holdout.{counted}"


def of_domain(target: str) -> str:
    """Whose rows the student and the scores are of, where there is a target domain."""
    return f"The rows of the student and of all scores are those of the domain {target}."

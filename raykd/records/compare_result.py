"""What a comparison of runs came to, as typed records; compare.json holds a `CompareResult`."""

from __future__ import annotations

from typing import Any, Literal

from raykd.records.record import Record
from raykd.records.run_result import SCHEMA_VERSION, ScoredSplit

Verdict = Literal["higher", "lower", "not settled"]


class DrawResult(Record):
    """A run of an arm: its folder, what it drew from, the metric's value."""

    folder: str
    seed: int
    data_seed: int
    value: float


class ArmResult(Record):
    """A treatment's student, baseline or teacher over its draws.

    Attributes:
        model: the arm in the predictions of its runs.
        settings: keys of the configuration whose values differ between the compared treatments.
        mean: of the metric over draws.
        deviation: of the metric over draws; None for a single one.
        seconds: of training, of a teacher of its forward passes; mean over draws.
        rows_computed: by the teachers of its runs, over all draws; None for a baseline that has the
            student's teachers.
        labels: that were read for a draw of it, see `run_result.LabelBudget`; None where that is not known.
    """

    name: str
    model: str
    settings: dict[str, Any]
    draws: list[DrawResult]
    mean: float
    deviation: float | None
    seconds: float
    rows_computed: int | None
    parameters: int | None
    labels: int | None = None


class Difference(Record):
    """A difference in the metric.

    Attributes:
        interval: at 95 %, for this difference alone.
        simultaneous: at 1 − alpha / m for m differences: all of them hold together with 95 %.
        verdict: `higher` or `lower` only where the simultaneous interval leaves out 0.
    """

    value: float
    interval: tuple[float, float]
    simultaneous: tuple[float, float]
    verdict: Verdict


class DifferenceResult(Difference):
    """An arm less the reference.

    Attributes:
        p: of the bootstrap, two-sided; `p_holm` is adjusted over the differences.
        mcnemar: exact p-value, for an accuracy with one draw on both sides; None otherwise.
        paired: draws of the same seeds are compared with one another.
    """

    arm: str
    p: float
    p_holm: float
    mcnemar: float | None = None
    mcnemar_holm: float | None = None
    paired: bool


class CompareResult(Record):
    """A comparison of arms with a reference.

    Attributes:
        rows: of the split, that every arm has answered.
        alpha: 1 less the level of the intervals.
        seed: of the bootstrap.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["compare"] = "compare"
    metric: str
    split: ScoredSplit
    rows: int
    reference: str
    arms: list[ArmResult]
    differences: list[DifferenceResult]
    alpha: float
    resamples: int
    seed: int
    warnings: list[str]

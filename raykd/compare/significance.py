"""McNemar's exact test, Holm's adjustment of p-values for several comparisons, and what an interval says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from raykd.records.compare_result import Verdict


def mcnemar(right: np.ndarray, reference_right: np.ndarray) -> float:
    """The exact two-sided p-value of two models' answers [N] to the same rows, from the rows that one of them alone has
    right (McNemar 1947): as many each way, if both are right equally often.
    """
    wins = int(np.count_nonzero(right & ~reference_right))
    losses = int(np.count_nonzero(~right & reference_right))
    return float(min(1.0, 2 * stats.binom.cdf(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): the k-th smallest of m times m − k + 1, none below a smaller
    one's, at most 1."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def verdict(interval: tuple[float, float]) -> Verdict:
    """What the interval of a difference says: higher or lower only where it leaves out 0."""
    low, high = interval
    return "higher" if low > 0 else "lower" if high < 0 else "not settled"

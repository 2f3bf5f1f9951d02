"""The paired bootstrap over rows and draws: how far a difference moves with other rows and other seeds.

Rows and draws are crossed: each resample takes rows with replacement, the same ones for both arms and all draws, and
draws with replacement (Owen 2007, "The pigeonhole bootstrap"; it errs towards wide intervals where rows and
draws interact). Of D draws D − 1 are taken (Rao and Wu 1988, "Resampling inference with complex survey data"): taking D
understates the variance between draws by 1 / D. A single draw stays: the interval then covers chance in rows alone.
With strata (domains) rows are drawn within each, as many as it has: its rows are a sample, their number is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raykd.compare.metrics import resampled_values

ALPHA = 0.05
RESAMPLES = {"spearman": 2_000}
"""By metric: ranks are found anew in each resample."""
MOST_RESAMPLES = 10_000
LARGEST = 4_000_000
"""Numbers in a block of resamples: 32 MB."""
FEW_GROUPS = 10
"""Counts of groups are drawn as such where so many rows are in one on average, else row by row."""
DECIMALS = 12
"""Differences are rounded to so many places: what sums in another order is not different."""


@dataclass(frozen=True)
class Measured:
    """An arm's answers [D, N] to the rows that both arms have."""

    predicted: np.ndarray

    @property
    def draws(self) -> int:
        """Draws of the arm, D."""
        return len(self.predicted)


@dataclass(frozen=True)
class Scale:
    """What is measured: the task's metric and the number of its classes, 1 for a regression."""

    metric: str
    classes: int


def resamples_of(metric: str) -> int:
    """How many resamples an interval in this metric is made of."""
    return RESAMPLES.get(metric, MOST_RESAMPLES)


def observed(scale: Scale, labels: np.ndarray, arm: Measured) -> np.ndarray:
    """The metric of each draw, [D]."""
    ones = np.ones((1, len(labels)))
    values = [resampled_values(scale.metric, scale.classes, labels, draw, ones)[0] for draw in arm.predicted]
    return np.array(values)


def resampled_differences(
    scale: Scale,
    labels: np.ndarray,
    arm: Measured,
    reference: Measured,
    *,
    paired: bool,
    resamples: int,
    seed: int,
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """The difference arm − reference in each resample, [resamples].

    Args:
        labels: [N].
        paired: draws of the same place are of the same seeds, and are taken together.
        strata: [N] numbers; as many rows of each are in every resample as there are.
    """
    rng = np.random.default_rng(seed)
    if scale.metric == "accuracy":  # right or wrong is all that counts, which makes more rows equal
        arm, reference = (Measured(of_arm.predicted == labels) for of_arm in (arm, reference))
        labels = np.ones(len(labels), bool)
    stratum = np.zeros(len(labels)) if strata is None else strata
    table, sizes = np.unique(
        np.vstack([stratum[None], labels[None], arm.predicted, reference.predicted]).astype(np.float64),
        axis=1,
        return_counts=True,
    )
    block, differences = max(1, LARGEST // len(labels)), []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        counts_RP = _stratified_counts(rng, sizes, table[0], count)
        values = [resampled_values(scale.metric, scale.classes, table[1], row, counts_RP) for row in table[2:]]
        of_arm, of_reference = np.stack(values[: arm.draws], 1), np.stack(values[arm.draws :], 1)
        weights = _draw_weights(rng, arm.draws, count)
        others = weights if paired else _draw_weights(rng, reference.draws, count)
        differences.append((weights * of_arm).sum(1) - (others * of_reference).sum(1))
    return np.round(np.concatenate(differences), DECIMALS) + 0.0  # no negative zero


def _stratified_counts(
    rng: np.random.Generator, sizes: np.ndarray, stratum_P: np.ndarray, resamples: int
) -> np.ndarray:
    """`_row_counts` of the groups of each stratum apart, [resamples, P]."""
    counts_RP = np.empty((resamples, len(sizes)), np.int64)
    for number in np.unique(stratum_P):
        own = stratum_P == number
        counts_RP[:, own] = _row_counts(rng, sizes[own], resamples)
    return counts_RP


def _row_counts(rng: np.random.Generator, sizes: np.ndarray, resamples: int) -> np.ndarray:
    """How many rows of each group of equal rows are in each resample, [resamples, P], of all rows with replacement."""
    rows, groups = int(sizes.sum()), len(sizes)
    if FEW_GROUPS * groups < rows:
        return rng.multinomial(rows, sizes / rows, size=resamples)
    group_of_row = np.repeat(np.arange(groups), sizes)
    taken = group_of_row[rng.integers(rows, size=(resamples, rows))] + groups * np.arange(resamples)[:, None]
    return np.bincount(taken.ravel(), minlength=resamples * groups).reshape(resamples, groups)


def _draw_weights(rng: np.random.Generator, draws: int, resamples: int) -> np.ndarray:
    """The share of each draw in each resample, [resamples, draws]."""
    if draws == 1:
        return np.ones((resamples, 1))
    return rng.multinomial(draws - 1, np.full(draws, 1 / draws), size=resamples) / (draws - 1)


def percentile_interval(differences: np.ndarray, alpha: float) -> tuple[float, float]:
    """The interval at level 1 − alpha: percentiles of the resampled differences."""
    low, high = np.quantile(differences, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided: twice the smaller share of resamples on a side of 0, 0 on both; at least 2 / (resamples + 1)."""
    sides = (np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (min(sides) + 1) / (len(differences) + 1)))

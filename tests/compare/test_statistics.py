"""The statistics of a comparison against independent derivations: exact tests, hand computations, normal theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from raykd.compare.bootstrap import (
    Measured,
    Scale,
    observed,
    p_value,
    percentile_interval,
    resampled_differences,
)
from raykd.compare.metrics import resampled_values
from raykd.compare.significance import holm, mcnemar
from raykd.data.tasks import Task

ACCURACY = Scale("accuracy", 2)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 0), (7, 3), (3, 7), (40, 41), (12, 12)])
def test_mcnemar_is_the_binomial_test_of_the_rows_that_differ(wins: int, losses: int) -> None:
    right = np.array([True] * wins + [False] * losses + [True, False] * 10)
    reference = np.array([False] * wins + [True] * losses + [True, False] * 10)
    exact = stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(right, reference) == pytest.approx(exact)


def test_holm_by_hand() -> None:
    """0.01 · 4, 0.02 · 3, then 0.03 · 2 and 0.04 · 1, neither below 0.06; and the example of Holm's paper's steps."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.001, 0.5, 0.3]) == pytest.approx([0.003, 0.6, 0.6])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_metrics_of_resamples_are_those_of_the_rows(metric: str, classes: int) -> None:
    """As scikit-learn has them, on the rows written out; also where classes are absent and answers constant."""
    rng = np.random.default_rng(classes)
    labels, predicted = rng.integers(classes, size=12), rng.integers(classes, size=12)
    counts = rng.multinomial(12, np.full(12, 1 / 12), size=40)
    counts[0] = 0
    counts[0, np.flatnonzero(labels == 0)[0]] = 12  # one row, twelve times
    task = Task("classification", metric, tuple("abcd"[:classes]))
    values = resampled_values(metric, classes, labels, predicted, counts)
    for value, count in zip(values, counts, strict=True):
        rows = np.repeat(np.arange(12), count)
        if metric == "f1" and classes == 2 and 1 not in labels[rows] and len(set(labels[rows])) > 1:
            continue
        assert value == pytest.approx(task.scores(np.eye(classes)[predicted[rows]], labels[rows])[metric])


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_correlations_of_resamples_are_those_of_the_rows(metric: str, scale: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(5, size=15) * scale  # ties
    predicted = labels + scale * rng.standard_normal(15)
    counts = rng.multinomial(15, np.full(15, 1 / 15), size=40)
    counts[0] = 15 * (np.arange(15) == 4)  # constant: its correlation is 0
    task = Task("regression", metric)
    values = resampled_values(metric, 1, labels, predicted, counts)
    for value, count in zip(values, counts, strict=True):
        rows = np.repeat(np.arange(15), count)
        assert value == pytest.approx(task.scores(predicted[rows][:, None], labels[rows])[metric], abs=1e-9)


def rows_of(wins: int, losses: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether arm and reference are right, [1, N] each."""
    arm = [1] * wins + [0] * losses + [1] * both + [0] * neither
    reference = [0] * wins + [1] * losses + [1] * both + [0] * neither
    return np.array([arm]), np.array([reference])


def differences(arm: np.ndarray, reference: np.ndarray, *, paired: bool = True, resamples: int = 10_000) -> np.ndarray:
    """Resampled differences in accuracy of answers [D, N] whose label is always 1."""
    labels = np.ones(arm.shape[1], int)
    return resampled_differences(
        ACCURACY, labels, Measured(arm), Measured(reference), paired=paired, resamples=resamples, seed=5
    )


def test_one_draw_and_many_rows_follow_the_normal_theory() -> None:
    """Var of a mean of N values in {−1, 0, 1} that are 1 in b and −1 in c of them: (b + c − (b − c)² / N) / N²."""
    arm, reference = rows_of(130, 90, 600, 180)
    resampled = differences(arm, reference)
    deviation = math.sqrt(130 + 90 - (130 - 90) ** 2 / 1000) / 1000
    assert resampled.mean() == pytest.approx(0.04, abs=4 * deviation / 100)
    assert resampled.std() == pytest.approx(deviation, rel=0.03)
    low, high = percentile_interval(resampled, 0.05)
    assert (low, high) == pytest.approx((0.04 - 1.96 * deviation, 0.04 + 1.96 * deviation), abs=0.002)
    assert p_value(resampled) == pytest.approx(2 * stats.norm.sf(0.04 / deviation), abs=0.004)


def test_an_arm_with_other_rows_right_is_wider_than_a_paired_one() -> None:
    """Pairing by rows is what makes it narrow: the same accuracies with errors on the same rows."""
    together, apart = differences(*rows_of(40, 0, 800, 160)), differences(*rows_of(200, 160, 640, 0))
    assert together.mean() == pytest.approx(apart.mean(), abs=0.002)
    assert together.std() < 0.4 * apart.std()


@pytest.mark.parametrize("draws", [2, 5, 20])
def test_draws_add_their_own_variance(draws: int) -> None:
    """Rows all alike in each draw, so that only draws matter: the variance of their mean, s² / D with s over D − 1."""
    rng = np.random.default_rng(draws)
    right = np.array([rng.permutation(2000) < 2000 * share for share in rng.uniform(0.6, 0.9, draws)])
    exact = right.mean(1).std(ddof=1) / math.sqrt(draws)
    resampled = differences(right, np.zeros_like(right))
    # The rows' own part, at most 0.25 / N, three times over (Owen 2007), is small beside it.
    assert exact**2 <= resampled.var() * 1.05
    assert resampled.var() <= 1.05 * (exact**2 + 3 * 0.25 / 2000)


def second_moments(taken: int, items: int) -> np.ndarray:
    """E[w wᵀ] of the shares w [items] of `taken` items drawn with replacement: their covariance is
    (I / items − 1 / items²) / taken, their mean 1 / items."""
    return (np.eye(items) / items - 1 / items**2) / taken + 1 / items**2


def row_moments(values: np.ndarray) -> np.ndarray:
    """X V Xᵀ for all N rows taken with replacement, without the [N, N] matrix: X Xᵀ / N² + (1 − 1 / N) x̄ x̄ᵀ."""
    rows = values.shape[1]
    means = values.mean(1)
    return values @ values.T / rows**2 + (1 - 1 / rows) * np.outer(means, means)


@pytest.mark.parametrize(("draws", "others", "paired"), [(1, 1, True), (6, 6, True), (6, 6, False), (6, 3, False)])
@pytest.mark.parametrize("rows", [150, 12_000])
def test_the_variance_over_rows_and_draws_is_the_exact_one(draws: int, others: int, paired: bool, rows: int) -> None:
    """Of T = Σ_d w_d Σ_n v_n X_dn with independent shares w of draws and v of rows: Var T = tr(W X V Xᵀ) − (mean X)²,
    where W and V are their second moments. The arms' draws are stacked in X, the reference's with a minus."""
    rng = np.random.default_rng(draws + rows)
    easy = rng.random(rows)
    arm, reference = (
        easy + 0.3 * rng.standard_normal((number, rows)) + 0.2 * rng.standard_normal((number, 1)) > 0.3
        for number in (draws, others)
    )
    stacked = np.vstack([arm, -reference.astype(float)])
    within = [second_moments(max(1, number - 1), number) for number in (draws, others)]
    across = within[0] if paired else np.full((draws, others), 1 / (draws * others))
    w = np.block([[within[0], across], [across.T, within[1]]])
    mean = arm.mean() - reference.mean()
    exact = np.trace(w @ row_moments(stacked)) - mean**2
    resampled = differences(arm.astype(int), reference.astype(int), paired=paired, resamples=6000)
    assert resampled.mean() == pytest.approx(mean, abs=4 * math.sqrt(exact / 6000))
    assert resampled.var() == pytest.approx(exact, rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """300 data sets of one draw on 300 rows with a true difference of 0.05; 95 % ± 3 standard errors of 1.3 %."""
    rng, covered = np.random.default_rng(11), 0
    for _ in range(300):
        uniform = rng.random((1, 300))
        arm, reference = uniform < 0.85, (uniform + 0.1 * rng.standard_normal((1, 300))) % 1.0 < 0.80
        low, high = percentile_interval(differences(arm, reference, resamples=1000), 0.05)
        covered += low <= 0.05 <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_draws_that_are_not_paired_vary_apart() -> None:
    """The same draws on both sides cancel where they are paired, and do not where they are not."""
    rng = np.random.default_rng(2)
    right = np.array([rng.random(500) < share for share in (0.6, 0.7, 0.8, 0.9)])
    assert not differences(right, right).any()
    assert differences(right, right, paired=False).std() > 0.04


def test_degenerate_cases() -> None:
    arm, _ = rows_of(10, 5, 100, 20)
    identical = differences(arm, arm)
    assert percentile_interval(identical, 0.05) == (0.0, 0.0)
    assert p_value(identical) == 1.0
    one_row = differences(np.array([[1]]), np.array([[0]]))
    assert percentile_interval(one_row, 0.05) == (1.0, 1.0)
    same, other = np.tile(arm, (3, 1)), np.tile(arm, (2, 1))  # other sums, the same answers
    assert percentile_interval(differences(same, other, paired=False), 0.01) == (0.0, 0.0)


def test_rows_drawn_by_groups_and_one_by_one_are_distributed_alike() -> None:
    """The same differences: in few groups of equal rows, and, with labels that tell rows apart, in as many as rows."""
    arm, reference = rows_of(130, 90, 600, 180)
    grouped = differences(arm, reference)
    classes = 400
    labels = np.arange(1000) % classes
    answers = [np.where(right, labels, (labels + 1) % classes) for right in (arm, reference)]
    apart = resampled_differences(
        Scale("matthews", classes), labels, Measured(answers[0]), Measured(answers[1]),
        paired=True, resamples=1000, seed=1,
    )  # fmt: skip
    # With very many classes of equal size the correlation is the accuracy, up to 1 / classes.
    assert apart.std() == pytest.approx(grouped.std(), rel=0.12)
    assert apart.mean() == pytest.approx(grouped.mean(), abs=0.003)


def test_the_observed_value_is_the_tasks() -> None:
    rng = np.random.default_rng(4)
    labels, predicted = rng.integers(2, size=50), rng.integers(2, size=(3, 50))
    task = Task("classification", "f1", ("no", "yes"))
    expected = [task.scores(np.eye(2)[draw], labels)["f1"] for draw in predicted]
    np.testing.assert_allclose(observed(Scale("f1", 2), labels, Measured(predicted)), expected)


def test_a_seed_gives_the_same_resamples() -> None:
    arm, reference = rows_of(13, 9, 60, 18)
    np.testing.assert_array_equal(differences(arm, reference), differences(arm, reference))

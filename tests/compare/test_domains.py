"""The student against baselines by domain: strata of the bootstrap in closed form, means by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raykd.compare.bootstrap import Measured, Scale, resampled_differences
from raykd.compare.domains import Answers, domain_differences, pooled, value_of
from raykd.data.tasks import Task
from raykd.records.predictions import Predictions

ACCURACY = Scale("accuracy", 2)


def resampled(arm: np.ndarray, reference: np.ndarray, strata: np.ndarray | None) -> np.ndarray:
    """Differences in accuracy of answers [N] whose label is always 1."""
    labels, (ours, theirs) = np.ones(len(arm), int), (Measured(some[None]) for some in (arm, reference))
    return resampled_differences(
        ACCURACY, labels, ours, theirs, paired=True, resamples=20_000, seed=3, strata=strata
    )  # fmt: skip


def test_what_strata_fix_has_no_variance() -> None:
    """The arm is right in all rows of the first stratum and the reference in all of the second: as many rows of each in
    every resample, so the difference is always (30 − 10) / 40."""
    strata = np.repeat([0, 1], [30, 10])
    arm, reference = (strata == 0).astype(int), (strata == 1).astype(int)
    assert set(resampled(arm, reference, strata)) == {0.5}
    assert resampled(arm, reference, None).std() > 0.05


def test_the_variance_is_that_of_a_stratified_sample() -> None:
    """Var = Σ (n_d / N)² σ_d² / n_d, with σ_d² of values in {−1, 0, 1} within each stratum."""
    rng, sizes = np.random.default_rng(0), (400, 100)
    strata = np.repeat([0, 1], sizes)
    arm = (rng.random(500) < np.where(strata == 0, 0.9, 0.3)).astype(int)
    reference = (rng.random(500) < np.where(strata == 0, 0.5, 0.8)).astype(int)
    gain = (arm - reference).astype(np.float64)
    exact = math.sqrt(sum((n / 500) ** 2 * gain[strata == d].var() / n for d, n in enumerate(sizes)))
    drawn = resampled(arm, reference, strata)
    assert drawn.mean() == pytest.approx(gain.mean(), abs=4 * exact / math.sqrt(20_000))
    assert drawn.std() == pytest.approx(exact, rel=0.03)
    assert resampled(arm, reference, None).std() == pytest.approx(gain.std() / math.sqrt(500), rel=0.03)


def answers_of(rng: np.random.Generator, rows: int, right: dict[str, float], first: int) -> Answers:
    labels = rng.integers(2, size=rows)
    ids = np.arange(first, first + rows)
    return {
        arm: Predictions(ids, labels, np.where(rng.random(rows) < share, labels, 1 - labels))
        for arm, share in right.items()
    }


@pytest.fixture
def answers() -> dict[str, Answers]:
    rng = np.random.default_rng(1)
    return {
        "books": answers_of(rng, 300, {"student": 0.9, "alone": 0.6, "uniform": 0.9}, 0),
        "kitchen": answers_of(rng, 60, {"student": 0.7, "alone": 0.7, "uniform": 0.7}, 300),
    }


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_values_and_means_are_those_of_the_rows(answers: dict[str, Answers], metric: str) -> None:
    """By domain, their mean, and over all rows together: as the task scores the rows written out."""
    task, scale = Task("classification", metric, ("a", "b")), Scale(metric, 2)

    def scored(arms: Answers, arm: str) -> float:
        return task.scores(np.eye(2)[arms[arm].predicted], arms[arm].labels)[metric]

    found = domain_differences(scale, answers, ["alone", "uniform"])
    together = pooled(answers, ["student", "alone", "uniform"])
    assert [len(rows.ids) for rows in together.values()] == [360] * 3
    for baseline in ("alone", "uniform"):
        gains = [scored(arms, "student") - scored(arms, baseline) for arms in answers.values()]
        assert [found.domains[name][baseline].value for name in answers] == pytest.approx(gains)
        assert found.macro[baseline].value == pytest.approx(np.mean(gains))
        assert found.micro[baseline].value == pytest.approx(scored(together, "student") - scored(together, baseline))
    assert value_of(scale, together["alone"]) == pytest.approx(scored(together, "alone"))


def test_intervals_are_of_their_domain_and_adjusted_for_all(answers: dict[str, Answers]) -> None:
    found = domain_differences(ACCURACY, answers, ["alone", "uniform"], seed=7)
    books, kitchen = found.domains["books"]["alone"], found.domains["kitchen"]["alone"]
    assert (books.verdict, kitchen.verdict, found.micro["alone"].verdict) == ("higher", "not settled", "higher")
    for name, arms in answers.items():
        ours, theirs = (arms[arm].predicted == arms[arm].labels for arm in ("student", "alone"))
        deviation = (ours.astype(float) - theirs).std() / math.sqrt(len(ours))
        entry = found.domains[name]["alone"]
        low, high = entry.interval
        assert (high - low) / 2 == pytest.approx(1.96 * deviation, rel=0.08)
        low, high = entry.simultaneous  # four differences of domains: 1 − 0.05 / 4
        assert (high - low) / 2 == pytest.approx(2.498 * deviation, rel=0.1)
    # Of either mean two: 1 − 0.05 / 2. The macro difference has the variance of a mean of two independent ones.
    widths = [np.subtract(*entry.interval[::-1]) for entry in (books, kitchen)]
    low, high = found.macro["alone"].interval
    assert high - low == pytest.approx(math.hypot(*widths) / 2, rel=0.08)
    low, high = found.macro["alone"].simultaneous
    assert high - low == pytest.approx(math.hypot(*widths) / 2 * 2.241 / 1.96, rel=0.1)
    again = domain_differences(ACCURACY, answers, ["alone", "uniform"], seed=7)
    assert again == found


def test_without_baselines_there_is_no_difference(answers: dict[str, Answers]) -> None:
    found = domain_differences(ACCURACY, answers, [])
    assert (found.domains, found.macro, found.micro) == ({"books": {}, "kitchen": {}}, {}, {})

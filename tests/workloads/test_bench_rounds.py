"""When a bench has measured enough: the interval of a median, and the rounds that it takes."""

from __future__ import annotations

import numpy as np
import pytest

from raykd.workloads.bench._rounds import Rounds, median_interval, settled, summary


@pytest.mark.parametrize("rounds", [5, 12, 40])
def test_the_interval_holds_the_median_as_often_as_it_says(rounds: int) -> None:
    """Of skewed values, whose median is 1; with few values the level can only be met with room to spare."""
    rng = np.random.default_rng(0)
    intervals = [median_interval(np.exp(rng.normal(size=rounds)).tolist()) for _ in range(2000)]
    covered = np.mean([interval is not None and interval[0] <= 1 <= interval[1] for interval in intervals])
    assert 0.9 - 3 * 0.0067 <= covered <= 0.975


def test_few_values_have_no_interval_and_do_not_settle_anything() -> None:
    assert median_interval([1.0] * 4) is None
    assert not settled([1.0] * 4)
    assert settled([1.0] * 5)
    assert not settled([0.9, 1.0, 1.0, 1.0, 1.1])  # five values: the interval is from the smallest to the largest


def test_a_goal_is_held_by_the_median_and_by_the_whole_interval() -> None:
    values = [1.00, 1.01, 1.02, 1.03, 1.08]
    assert summary(values, goal=1.05) == {
        "ratio": 1.02,
        "interval": [1.0, 1.08],
        "rounds": 5,
        "settled": False,
        "goal": 1.05,
        "holds": True,
        "interval_holds": False,
    }
    at_least = summary(values, goal=1.0, at_least=True)
    assert at_least["holds"]
    assert at_least["interval_holds"]


def test_rounds_end_when_all_are_settled_or_the_time_is_over() -> None:
    unsettled = [1.0, 2.0, 3.0, 1.0, 2.0]
    assert Rounds(seconds=600).go_on(unsettled)
    assert Rounds(seconds=600).go_on([1.0] * 5, unsettled)
    assert not Rounds(seconds=600).go_on([1.0] * 5, [2.0] * 5)
    assert not Rounds(seconds=0).go_on(unsettled)
    assert Rounds(seconds=0).go_on([1.0])

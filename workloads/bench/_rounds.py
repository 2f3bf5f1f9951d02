"""How long a bench goes on: until the interval of its median is narrow, or its time is over."""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

from scipy import stats

log = logging.getLogger(__name__)
LEVEL = 0.9
WIDTH = 0.05
SECONDS = 480.0
FEWEST, FEWEST_STEPS = 2, 5
"""Rounds that are made however long they take: of whole runs, and of blocks of steps, which so have an interval."""


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Of the median that the values are drawn around, at 90 % or a little more, whatever their distribution.

    Its ends are order statistics of the values (Conover, Practical Nonparametric Statistics, section 3.2). None for
    fewer than five values, of which no interval has that level.
    """
    interval = stats.quantile_test(values, q=statistics.median(values), p=0.5).confidence_interval(LEVEL)
    return None if math.isnan(interval.low) else (float(interval.low), float(interval.high))


def settled(values: Sequence[float]) -> bool:
    """The interval is within 5 % of the median on both sides."""
    interval = median_interval(values)
    if interval is None:
        return False
    middle = statistics.median(values)
    return max(middle - interval[0], interval[1] - middle) <= WIDTH * middle


def summary(values: Sequence[float], goal: float, at_least: bool = False) -> dict[str, Any]:
    """What is said of a ratio measured in several rounds.

    Args:
        values: a ratio a round.
        goal: the largest median that holds.
        at_least: it is the smallest.
    """
    middle, interval = statistics.median(values), median_interval(values)

    def reached(value: float) -> bool:
        return value >= goal if at_least else value <= goal

    return {
        "ratio": round(middle, 4),
        "interval": [round(end, 4) for end in interval] if interval else None,
        "rounds": len(values),
        "settled": settled(values),
        "goal": goal,
        "holds": reached(middle),
        "interval_holds": interval is not None and all(map(reached, interval)),
    }


def to_limit(values: Sequence[float], goal: float) -> dict[str, Any]:
    """As `summary`, of ratios that are divided by what bounds them; `ratio` itself is left to the bench."""
    own = summary(values, goal)
    return {"ratio_to_limit": own.pop("ratio"), **own, "goal_is_for": "ratio_to_limit"}


class Rounds:
    """Decides after each round whether there is another.

    Args:
        seconds: that all rounds together may take; the fewest are made in any case.
        fewest: how many those are; default `FEWEST`.
    """

    def __init__(self, seconds: float = SECONDS, fewest: int | None = None) -> None:
        self._seconds, self._begun = seconds, time.perf_counter()
        self._fewest = FEWEST if fewest is None else fewest

    def go_on(self, *ratios: Sequence[float]) -> bool:
        """True until every ratio is settled, or another round would take longer than is left."""
        done = min(map(len, ratios))
        spent = time.perf_counter() - self._begun
        if done:
            # A bench that is cut short has shown what it knew.
            medians = ", ".join(f"{statistics.median(values):.4f}" for values in ratios)
            log.info("%d rounds in %.0f s: medians %s", done, spent, medians)
        if done < self._fewest:
            return True
        if spent * (done + 1) / done > self._seconds:
            return False
        return not all(map(settled, ratios))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every bench: its threads, and how long it goes on."""
    parser.add_argument("--threads", type=int, help="of torch; default all cores")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that its rounds may take; default 480")

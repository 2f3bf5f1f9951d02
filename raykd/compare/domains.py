"""The student against each baseline by domain, in the mean over domains, and over the rows of all domains together.

One draw on each side, paired by rows. Over several domains the rows are drawn within each: which domains there are is
not left to chance. The macro difference is the mean of the domains' own, so are its resamples; the micro difference is
that of the metric over all rows together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raykd.compare.bootstrap import (
    ALPHA,
    Measured,
    Scale,
    observed,
    percentile_interval,
    resampled_differences,
    resamples_of,
)
from raykd.compare.significance import verdict
from raykd.records.compare_result import Difference
from raykd.records.predictions import STUDENT, Predictions

Answers = Mapping[str, Predictions]
"""By arm of one run, on the same rows."""


@dataclass(frozen=True)
class DomainDifferences:
    """The student less each baseline, by baseline: of each domain, of the mean over domains, over all rows."""

    domains: dict[str, dict[str, Difference]]
    macro: dict[str, Difference]
    micro: dict[str, Difference]


def domain_differences(
    scale: Scale, answers: Mapping[str, Answers], baselines: Sequence[str], seed: int = 0
) -> DomainDifferences:
    """Differences with intervals, from the answers of each domain's run.

    Args:
        answers: by domain.
        seed: of the bootstrap.
    """
    by_domain: dict[str, dict[str, Difference]] = {name: {} for name in answers}
    macro, micro = {}, {}
    each, means = ALPHA / max(1, len(answers) * len(baselines)), ALPHA / max(1, len(baselines))
    together = pooled(answers, [STUDENT, *baselines])
    number_of_row = np.repeat(np.arange(len(answers)), [len(arms[STUDENT].ids) for arms in answers.values()])
    for baseline in baselines:
        values, resampled = [], []
        for k, (name, arms) in enumerate(answers.items()):
            values.append(_value(scale, arms, baseline))
            resampled.append(_resampled(scale, arms, baseline, seed + 1 + k))
            by_domain[name][baseline] = _difference(values[-1], resampled[-1], each)
        macro[baseline] = _difference(float(np.mean(values)), np.mean(resampled, axis=0), means)
        drawn = _resampled(scale, together, baseline, seed, number_of_row)
        micro[baseline] = _difference(_value(scale, together, baseline), drawn, means)
    return DomainDifferences(by_domain, macro, micro)


def pooled(answers: Mapping[str, Answers], arms: Sequence[str]) -> dict[str, Predictions]:
    """The answers of these arms to the rows of all domains together, in the order of the domains."""
    return {arm: _joined([of_domain[arm] for of_domain in answers.values()]) for arm in arms}


def value_of(scale: Scale, answers: Predictions) -> float:
    """The metric of an arm's answers."""
    return float(observed(scale, answers.labels, Measured(answers.predicted[None]))[0])


def _joined(parts: Sequence[Predictions]) -> Predictions:
    columns = ([getattr(part, name) for part in parts] for name in ("ids", "labels", "predicted"))
    return Predictions(*map(np.concatenate, columns))


def _value(scale: Scale, arms: Answers, baseline: str) -> float:
    return value_of(scale, arms[STUDENT]) - value_of(scale, arms[baseline])


def _resampled(scale: Scale, arms: Answers, baseline: str, seed: int, strata: np.ndarray | None = None) -> np.ndarray:
    student, other = arms[STUDENT], arms[baseline]
    return resampled_differences(
        scale, student.labels, Measured(student.predicted[None]), Measured(other.predicted[None]),
        paired=True, resamples=resamples_of(scale.metric), seed=seed, strata=strata,
    )  # fmt: skip


def _difference(value: float, resampled: np.ndarray, alpha: float) -> Difference:
    simultaneous = percentile_interval(resampled, alpha)
    return Difference(
        value=value,
        interval=percentile_interval(resampled, ALPHA),
        simultaneous=simultaneous,
        verdict=verdict(simultaneous),
    )

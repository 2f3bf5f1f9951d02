"""How much each searched key matters: permutation importance of a random forest that predicts the metric.

Breiman 2001, "Random Forests", section 10. It says what mattered within this space and these trials, no more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from raykd.records.study_state import TrialState

FEWEST = 8
"""Trials below which a forest only learns noise by heart."""


def importance(trials: Sequence[TrialState], keys: Sequence[str]) -> dict[str, float]:
    """By key its share of what the forest explains, summing to 1; empty where too few trials can tell.

    Trials that were stopped early count with the value that they had: they were stopped for it.
    """
    known = [
        trial for trial in trials if trial.value is not None and math.isfinite(trial.value) and trial.state != "failed"
    ]
    varied = [key for key in keys if len({_name(trial.params.get(key)) for trial in known}) > 1]
    values = np.array([trial.value for trial in known], float)
    if len(known) < FEWEST or not varied or np.ptp(values) == 0:
        return {}
    columns = np.stack([_column([trial.params.get(key) for trial in known]) for key in varied], axis=1)
    forest = RandomForestRegressor(n_estimators=200, min_samples_leaf=2, random_state=0).fit(columns, values)
    importances = permutation_importance(forest, columns, values, n_repeats=20, random_state=0)
    weights = np.maximum(importances.importances_mean, 0.0)
    if weights.sum() <= 0:
        return {}
    ordered = sorted(zip(varied, weights / weights.sum(), strict=True), key=lambda pair: -pair[1])
    return {key: float(weight) for key, weight in ordered}


def _column(values: list[Any]) -> np.ndarray:
    """Numbers as they are, others by their place in a list; what a trial does not have is apart from all."""
    numbers = all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
    )
    if numbers:
        lowest = min((float(value) for value in values if value is not None), default=0.0)
        return np.array([lowest - 1.0 if value is None else float(value) for value in values])
    names = sorted({_name(value) for value in values})
    return np.array([float(names.index(_name(value))) for value in values])


def _name(value: Any) -> str:
    return json.dumps(value)

"""The policy's advantages: gains less those of the step's other rows, over a deviation that moves with the updates.

docs/methods.md, section "RL-KD".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from raykd.weighting.policy.experience import Experience

MEMORY = 0.9
"""Share of the old in moving means."""


@dataclass
class MovingMoments:
    """Mean of the shared part of rewards, and variance of advantages or influences, over past updates."""

    metric: float = 0.0
    variance: float = 0.0
    updates: int = 0

    def advantage(self, seen: Experience) -> np.ndarray:
        """(gain − baseline + metric − its moving mean) / deviation, [B]; takes these rows in for the next time."""
        keep = MEMORY if self.updates else 0.0
        shared = float(seen.metric_B.mean())
        usual = self.metric if self.updates else shared
        raw_B = seen.gain_B.astype(np.float64) + seen.metric_B - usual
        self.metric = keep * self.metric + (1 - keep) * shared
        self.variance = keep * self.variance + (1 - keep) * float((raw_B**2).mean())
        self.updates += 1
        return (raw_B / (np.sqrt(self.variance) + 1e-12)).astype(np.float32)

    def scale(self, influence_BK: np.ndarray) -> float:
        """The moving root mean square of r, these rows in it."""
        keep = MEMORY if self.updates else 0.0
        mean = float(np.square(influence_BK, dtype=np.float64).mean()) if influence_BK.size else 0.0
        self.variance = keep * self.variance + (1 - keep) * mean
        self.updates += 1
        return float(np.sqrt(self.variance)) + 1e-30


def leave_one_out_gain(seen: Experience) -> Experience:
    """Gains less the mean gain of the step's other rows of the same class (of all other rows, where there is none).

    A step moves all rows of a class together, far more than the choice on one row moves that row: on the planted
    problem of tests/planted.py what a choice explains of the gains rises from a correlation of 0.03 to one of 0.3. As
    the row itself is left out, its baseline does not depend on its own choice.
    """
    gain_B = seen.gain_B.astype(np.float64)
    fresh_B = np.zeros_like(gain_B)
    for class_id in np.unique(seen.class_B):
        own = seen.class_B == class_id
        others = own if own.sum() > 1 else np.ones_like(own)
        n = others.sum()
        if n > 1:
            fresh_B[own] = gain_B[own] - (gain_B[others].sum() - gain_B[own]) / (n - 1)
    return replace(seen, gain_B=fresh_B.astype(np.float32))

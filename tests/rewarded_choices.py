"""Choices of teachers whose worth is planted, behind rewards that move all rows of a class; for the policy's tests."""

from __future__ import annotations

import numpy as np
import torch

from raykd.weighting.policy import model as policy
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.model import StateSpec

TEACHERS, FEATURES = 3, 4
LAYOUT = StateSpec(("a", "b", "c"), hidden=1, classes=2, student=False)
SPEC = PolicyTrainerSpec(LAYOUT, lr=0.05, clip_ratio=0.2, entropy_bonus=0.01, update_every=1, passes=4)


def worth(states_BKF: np.ndarray) -> np.ndarray:
    """What teacher k adds on a row, less its cost, [B, K]."""
    return np.tanh(states_BKF @ np.array([1.5, -1.0, 0.5, 0.0], np.float32)) - 0.1


def experience(rng: np.random.Generator, weights: dict[str, np.ndarray], rows: int = 256) -> Experience:
    """Choices by these weights on random states. A step moves all rows of a class together, by far more than a choice
    moves its row."""
    states = rng.normal(size=(rows, TEACHERS, FEATURES)).astype(np.float32)
    logits = torch.from_numpy((states * weights["weight"]).sum(-1) + weights["bias"])
    actions = policy.act(logits, "sample", torch.from_numpy(rng.random((rows, TEACHERS))).float())
    classes = rng.integers(2, size=rows)
    gain = (actions.numpy() * worth(states)).sum(-1) + 30 * rng.normal(size=2)[classes]
    likelihood = policy.log_likelihood(logits, actions).numpy()
    gain = gain.astype(np.float32)
    return Experience(
        ids=rng.permutation(rows), states_BKF=states, actions_BK=actions.numpy().astype(np.float32),
        log_likelihood_B=likelihood.astype(np.float32), reward_B=gain, gain_B=gain,
        metric_B=np.zeros(rows, np.float32), class_B=classes,
        influence_BK=np.zeros((rows, TEACHERS), np.float32),
    )  # fmt: skip

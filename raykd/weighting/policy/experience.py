"""What a student tells of the policy's choices: states, actions, likelihoods, rewards and the rows' own baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from raykd.config import PolicyConfig
from raykd.weighting.policy.model import StateSpec


@dataclass(frozen=True)
class PolicyTrainerSpec:
    """What a selector is made of; picklable.

    Attributes:
        layout: of its states, and for which teachers.
        start: the policy's weights to start from, None for undecided ones.
        lease_s: a shared one ends so long after its last call; None: it lives and dies with its run.
    """

    layout: StateSpec
    lr: float
    clip_ratio: float
    entropy_bonus: float
    update_every: int
    passes: int
    start: dict[str, np.ndarray] | None = None
    lease_s: float | None = None

    @classmethod
    def from_config(
        cls, config: PolicyConfig, layout: StateSpec, start: dict[str, np.ndarray] | None, lease_s: float
    ) -> PolicyTrainerSpec:
        """Of a run's own policy, or with a lease of one that many runs share."""
        return cls(
            layout=layout,
            lr=config.lr,
            clip_ratio=config.clip_ratio,
            entropy_bonus=config.entropy_bonus,
            update_every=config.update_every,
            passes=config.passes,
            start=start,
            lease_s=lease_s if config.shared else None,
        )


@dataclass(frozen=True)
class PolicyVersion:
    """A version of the policy's weights, and the metrics of the update that made it."""

    version: int
    weights: dict[str, np.ndarray]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Experience:
    """Rows of one rewarded step.

    Attributes:
        log_likelihood_B: of the choices, under the weights that made them.
        reward_B: the row's own, after the student's step.
        gain_B: the row's own reward after the student's step, less its −CE before the step, which no choice could
            change.
        metric_B: what all rows of the step share: r3's metric.
        class_B: rows are compared with those of their class; 0 in a regression.
    """

    ids: np.ndarray
    states_BKF: np.ndarray
    actions_BK: np.ndarray
    log_likelihood_B: np.ndarray
    reward_B: np.ndarray
    gain_B: np.ndarray
    metric_B: np.ndarray
    class_B: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Experience], by_id: bool = True) -> Experience:
        """Of several workers' parts of one step, in the order of ids; or of several steps, in theirs."""
        whole = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        if not by_id:
            return whole
        order = np.argsort(whole.ids, kind="stable")
        return cls(**{f.name: getattr(whole, f.name)[order] for f in fields(cls)})

    @classmethod
    def none(cls, teachers: int, features: int) -> Experience:
        """The experience of a worker without rows."""
        ids, states = np.empty(0, np.int64), np.empty((0, teachers, features), np.float32)
        numbers = np.empty(0, np.float32)
        return cls(ids, states, np.empty((0, teachers), np.float32), numbers, numbers, numbers, numbers, ids)

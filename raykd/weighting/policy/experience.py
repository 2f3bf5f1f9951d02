"""What a student tells of the policy's choices: states, actions, likelihoods, rewards and the rows' own baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from raykd.config import PolicyConfig
from raykd.weighting.policy.model import StateSpec


@dataclass(frozen=True)
class PolicyTrainerSpec:
    """What a selector is made of; picklable.

    Attributes:
        layout: of its states, and for which teachers.
        hidden_width: of the policy's hidden layer; 0: none.
        reward: its type.
        expected: the gradient is taken in expectation over the choices, of `influence_BK`.
        replay: earlier updates whose rows are used again.
        start: the policy's weights to start from, None for undecided ones.
        lease_s: a shared one ends so long after its last call; None: it lives and dies with its run.
    """

    layout: StateSpec
    lr: float
    clip_ratio: float
    entropy_bonus: float
    update_every: int
    passes: int
    hidden_width: int = 0
    reward: str = "r1"
    expected: bool = False
    replay: int = 0
    start: dict[str, np.ndarray] | None = None
    lease_s: float | None = None

    @property
    def form(self) -> tuple[int, str]:
        """What runs that share a policy must have in common beside the layout: hidden units, kind of reward."""
        kind = "r1, r2 or r3" if self.reward != "influence" else "expected influence" if self.expected else "influence"
        return self.hidden_width, kind

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
            hidden_width=config.hidden_width,
            reward=config.reward.type,
            expected=config.reward.expected,
            replay=config.reward.replay,
            start=start,
            lease_s=lease_s if config.shared else None,
        )


@dataclass
class Acted:
    """The choices on a micro-batch of a rewarded step; `influence_BK` is r, where the reward is taken from that."""

    states_BKF: torch.Tensor
    logits_BK: torch.Tensor
    actions_BK: torch.Tensor
    influence_BK: torch.Tensor | None = None


@dataclass(frozen=True)
class Rewarded:
    """What the choices on a micro-batch led to: the fields of an `Experience` that a reward decides, and which rows."""

    reward_B: torch.Tensor
    gain_B: torch.Tensor
    class_B: torch.Tensor
    influence_BK: torch.Tensor
    kept_B: torch.Tensor


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
        influence_BK: r_ik less its mean over k, of each teacher whether it was chosen or not; 0 with other rewards.
    """

    ids: np.ndarray
    states_BKF: np.ndarray
    actions_BK: np.ndarray
    log_likelihood_B: np.ndarray
    reward_B: np.ndarray
    gain_B: np.ndarray
    metric_B: np.ndarray
    class_B: np.ndarray
    influence_BK: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Experience], by_id: bool = True) -> Experience:
        """Of several workers' parts of one step, in the order of ids; or of several steps, in theirs."""
        whole = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        if not by_id:
            return whole
        order = np.argsort(whole.ids, kind="stable")
        return cls(**{f.name: getattr(whole, f.name)[order] for f in fields(cls)})

    def of(self, kept_B: np.ndarray) -> Experience:
        """Some of the rows, by a mask."""
        return Experience(**{f.name: getattr(self, f.name)[kept_B] for f in fields(self)})

    @classmethod
    def none(cls, teachers: int, features: int) -> Experience:
        """The experience of a worker without rows."""
        ids, states = np.empty(0, np.int64), np.empty((0, teachers, features), np.float32)
        numbers, cells = np.empty(0, np.float32), np.empty((0, teachers), np.float32)
        return cls(ids, states, cells, numbers, numbers, numbers, numbers, ids, cells)

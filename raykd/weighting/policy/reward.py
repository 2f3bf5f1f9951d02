"""What a policy is rewarded for: r1 = −CE_S, r2 = −CE_S − KD, r3 = γ·r2 + (1 − γ)·fall of CE on held-out rows.

Yuan et al., "Reinforced Multi-Teacher Selection for Knowledge Distillation" (AAAI 2021), section 3.3; their r3 has the
accuracy on held-out rows, which one step changes by far less than another draw of the rows does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from transformers import PreTrainedModel

from raykd.config import RewardConfig
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training import collective
from raykd.training.encoder import student_encoder
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting.base import Stepped, Stepping
from raykd.weighting.inputs import WeightingInputs, needed
from raykd.weighting.policy.experience import Acted, Rewarded


def reward_rows(config: RewardConfig, inputs: WeightingInputs) -> ReplacementSampler:
    """Draws `reward.batch_size` rows of the reward split, or all of them where it has no more."""
    rows, job = needed(inputs.reward, "a reward split"), needed(inputs.job, "the student's job")
    worker, encoder = needed(inputs.worker, "a worker"), student_encoder(job, rows)
    return ReplacementSampler("reward", encoder, rows.ids, config.batch_size, inputs.seed, worker, at_most_once=True)


class PolicyReward(ABC):
    """What every reward is asked around a rewarded step, on every worker."""

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool) -> None:
        """Before the step; `derivative_known`: the feedback has taken u in it, see `Stepping.derivative_BC`."""

    def look_ahead(self, model: PreTrainedModel, stepping: Stepping) -> torch.Tensor | None:
        """r [B, K] of a micro-batch, before the step; None where the reward is taken after it."""
        return None

    def metric(self, model: PreTrainedModel, step: int) -> float:
        """What all rows of the batch get on top, after the step."""
        return 0.0

    @abstractmethod
    def rewarded(self, micro: Stepped, acted: Acted) -> Rewarded:
        """What the choices on a micro-batch led to, after the step."""


class Reward(PolicyReward):
    """r1 = −CE_S, r2 = −CE_S − KD, r3 = γ·r2 + (1 − γ)·(CE before − CE after on held-out rows), of the stepped student.

    Args:
        split: draws the rows on which r3 compares the student before and after the step.
    """

    def __init__(self, config: RewardConfig, task: Task, split: ReplacementSampler | None) -> None:
        self.config, self.task, self.split = config, task, split
        self._before = 0.0

    @classmethod
    def from_config(cls, config: RewardConfig, inputs: WeightingInputs) -> Reward:
        """With a sampler of the reward split for r3."""
        return cls(config, inputs.task, reward_rows(config, inputs) if config.type == "r3" else None)

    def rows(self, stepped: Stepped) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows' own part of the reward, and what of it −CE before the step does not explain, [B] both."""
        soft_B, hard_B = stepped.after()
        reward_B = -hard_B if self.config.type == "r1" else -(hard_B + soft_B)
        share = self.config.gamma if self.config.type == "r3" else 1.0
        return share * reward_B, share * (reward_B + stepped.before_B)

    def rewarded(self, micro: Stepped, acted: Acted) -> Rewarded:
        """Of the rows that have a label; one forward pass of the stepped student."""
        reward_B, gain_B = self.rows(micro)
        labels_B = micro.batch.labels_B
        classes_B = labels_B if self.task.classes > 1 else torch.zeros(len(labels_B))
        return Rewarded(reward_B, gain_B, classes_B, torch.zeros_like(acted.logits_BK), micro.batch.labeled)

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool = False) -> None:
        """Before the step: the loss on r3's rows."""
        if self.split is not None:
            self._before = self._held_out_loss(model, step)

    def metric(self, model: PreTrainedModel, step: int) -> float:
        """What all rows of the batch get on top: (1 − γ)·(CE before − CE after) for r3, else 0. All workers call it."""
        if self.split is None:
            return 0.0
        worker, fell = self.split.worker, self._before - self._held_out_loss(model, step)
        (total,) = collective.sum_scalars([fell], worker.device, worker.world)
        return (1 - self.config.gamma) * total / self.split.rows

    def _held_out_loss(self, model: PreTrainedModel, step: int) -> float:
        """The sum over this worker's share of the rows, dropout off; a regression's is the squared error."""
        assert self.split is not None
        encoded, labels_B = self.split.mine(step)
        if not len(labels_B):
            return 0.0
        return float(self.task.hard_loss(forward.predicted(model, encoded), labels_B).double().sum())

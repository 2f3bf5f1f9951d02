"""What a policy is rewarded for: r1 = −CE_S, r2 = −CE_S − KD, r3 = γ·r2 + (1 − γ)·accuracy, of the stepped student.

Yuan et al., "Reinforced Multi-Teacher Selection for Knowledge Distillation" (AAAI 2021), section 3.3.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from raykd.config import RewardConfig
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training import collective
from raykd.training.encoder import student_encoder
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting.base import Stepped
from raykd.weighting.inputs import WeightingInputs, needed


class Reward:
    """r1 = −CE_S, r2 = −CE_S − KD, r3 = γ·r2 + (1 − γ)·accuracy, of the stepped student.

    Args:
        split: draws the rows of r3's accuracy (in a regression: of its negative squared error).
    """

    def __init__(self, config: RewardConfig, task: Task, split: ReplacementSampler | None) -> None:
        self.config, self.task, self.split = config, task, split

    @classmethod
    def from_config(cls, config: RewardConfig, inputs: WeightingInputs) -> Reward:
        """With a sampler of the reward split for r3."""
        if config.type != "r3":
            return cls(config, inputs.task, None)
        rows, job = needed(inputs.reward, "a reward split"), needed(inputs.job, "the student's job")
        worker, encoder = needed(inputs.worker, "a worker"), student_encoder(job, rows)
        sampler = ReplacementSampler("reward", encoder, rows.ids, config.batch_size, inputs.seed, worker)
        return cls(config, inputs.task, sampler)

    def rows(self, stepped: Stepped) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows' own part of the reward, and what of it −CE before the step does not explain, [B] both."""
        soft_B, hard_B = stepped.after()
        reward_B = -hard_B if self.config.type == "r1" else -(hard_B + soft_B)
        share = self.config.gamma if self.config.type == "r3" else 1.0
        return share * reward_B, share * (reward_B + stepped.before_B)

    def metric(self, model: PreTrainedModel, step: int) -> float:
        """What all rows of the batch get on top: (1 − γ)·metric for r3, else 0. All workers call it."""
        if self.config.type != "r3":
            return 0.0
        assert self.split is not None
        encoded, labels_B = self.split.mine(step)
        good = 0.0
        if len(labels_B):
            logits_BC = forward.predicted(model, encoded)
            if self.task.classes > 1:
                good = float((logits_BC.argmax(-1) == labels_B).sum())
            else:
                good = -float(self.task.hard_loss(logits_BC, labels_B).sum())
        worker = self.split.worker
        (total,) = collective.sum_scalars([good], worker.device, worker.world)
        return (1 - self.config.gamma) * total / self.split.rows

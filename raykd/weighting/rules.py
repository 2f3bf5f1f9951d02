"""Weights without learning (docs/methods.md, "Rules"): uniform, fixed, random, confidence, entropy, oracle."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F

from raykd.config import FixedConfig, OracleConfig, WeightingConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.errors import ConfigError
from raykd.weighting.base import Weighting
from raykd.weighting.inputs import WeightingInputs, needed


def gold_losses(task: Task, logits_KBC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """The teachers' losses against the label, [K, B]: cross-entropy, or the squared error of a regression."""
    return torch.stack([task.hard_loss(logits_BC, labels_B) for logits_BC in logits_KBC])


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """H = −Σ_c p_c log p_c in nats over the last axis; 0 where an answer is certain to the last bit."""
    log = F.log_softmax(logits, dim=-1)
    return (log.exp() * -log.clamp_min(torch.finfo(log.dtype).min)).sum(-1)


class Uniform(Weighting):
    """w_ik = 1 / K."""

    varies = False

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """The weight 1 / K for every row and teacher, [B, K]."""
        teachers, rows, _ = logits_KBC.shape
        return logits_KBC.new_full((rows, teachers), 1.0 / teachers)


class Fixed(Weighting):
    """w_ik = a_k / Σ_j a_j with the configured a ≥ 0."""

    varies = False

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self.weights = [weight / total for weight in weights]

    @classmethod
    def from_config(cls, config: FixedConfig, inputs: WeightingInputs) -> Self:
        """From one configured weight per teacher."""
        return cls(config.weights)

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """The configured weights for every row, [B, K]."""
        return logits_KBC.new_tensor(self.weights).expand(logits_KBC.shape[1], -1)


class Random(Weighting):
    """One teacher for a whole global batch, drawn from (seed, step) and so the same on every worker."""

    varies = False

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @classmethod
    def from_config(cls, config: WeightingConfig, inputs: WeightingInputs) -> Self:
        """Drawn from the run's seed."""
        return cls(inputs.seed)

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """1 for the batch's teacher, [B, K]."""
        teachers, rows, _ = logits_KBC.shape
        words = np.array([self.seed, zlib.crc32(f"teacher/{batch.step}".encode())], dtype=np.uint64)
        drawn = int(np.random.Generator(np.random.Philox(key=words)).integers(teachers))
        return F.one_hot(torch.full((rows,), drawn, device=logits_KBC.device), teachers).to(logits_KBC.dtype)


class Confidence(Weighting):
    """w_ik = (1 − softmax_k CE_ik) / (K − 1): Zhang, Chen, Wang, "Confidence-Aware Multi-Teacher KD" (2022), eq. 3."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @classmethod
    def from_config(cls, config: WeightingConfig, inputs: WeightingInputs) -> Self:
        """Compares teachers by the task's loss against the label."""
        return cls(inputs.task)

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """More for the teachers that are nearer to the label, [B, K]; without a label, for the surer ones."""
        weights_BK = _complement(F.softmax(gold_losses(self.task, logits_KBC, batch.labels_B), dim=0).T)
        # Of a regression's single number no entropy is known: all losses are 0 there, and the weights equal.
        if batch.labeled.all() or self.task.classes == 1:
            return weights_BK
        return torch.where(batch.labeled.unsqueeze(-1), weights_BK, surer(logits_KBC))


class Entropy(Weighting):
    """w_ik = (1 − H_ik / Σ_j H_ij) / (K − 1): more for surer teachers, right or wrong (Kwon et al. 2020)."""

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """Weights [B, K]; equal ones where every teacher is certain."""
        return surer(logits_KBC)


class Oracle(Weighting):
    """The teacher with the smallest loss against the row's label: the best that choosing one by its answer can do.

    Or the teacher that a plan names for the row's domain: where it is known whom to hear, the most that any choice of
    teachers can gain.

    Args:
        planned: ids → the place of each row's teacher among the K; None: by the label.
    """

    def __init__(self, task: Task, planned: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.task, self.planned = task, planned

    @classmethod
    def from_config(cls, config: OracleConfig, inputs: WeightingInputs) -> Self:
        """By the label or by the domains of the training rows; errors as for `planned_teachers`."""
        if config.by == "label":
            return cls(inputs.task)
        train = needed(inputs.job, "the student's job").train
        rows = train.rows()
        places = planned_teachers(config, inputs.teachers, rows.domains(train.ids))

        def planned(ids: np.ndarray) -> np.ndarray:
            return np.array([places[domain] for domain in rows.domains(ids) or []], np.int64)

        return cls(inputs.task, planned)

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """1 for the row's best or planned teacher, [B, K]."""
        if self.planned is not None:
            planned_B = torch.from_numpy(self.planned(batch.ids)).to(logits_KBC.device)
            return F.one_hot(planned_B, logits_KBC.shape[0]).to(logits_KBC.dtype)
        best_B = gold_losses(self.task, logits_KBC, batch.labels_B).argmin(0)
        return F.one_hot(best_B, logits_KBC.shape[0]).to(logits_KBC.dtype)


def surer(logits_KBC: torch.Tensor) -> torch.Tensor:
    """(1 − H_ik / Σ_j H_ij) / (K − 1), [B, K]; equal weights where every teacher is certain."""
    entropy_BK = entropy(logits_KBC).T
    total_B1 = entropy_BK.sum(-1, keepdim=True)
    equal = torch.full_like(entropy_BK, 1.0 / entropy_BK.shape[1])
    return _complement(torch.where(total_B1 > 0, entropy_BK / total_B1.where(total_B1 > 0, 1.0), equal))


def planned_teachers(config: OracleConfig, teachers: Sequence[str], domains: Sequence[str] | None) -> dict[str, int]:
    """For each of the domains the place of its teacher among the K.

    Raises:
        ConfigError: there are no domains, or one has no teacher.
    """
    if domains is None:
        raise ConfigError("weighting.by", "the training rows have no domain column", "name it as data.domain")
    names = {domain: (config.plan or {}).get(domain, domain) for domain in sorted(set(domains))}
    for domain, name in names.items():
        if name not in teachers:
            what = f"no teacher is planned for the domain {domain!r}; teachers are {', '.join(teachers)}"
            raise ConfigError("weighting.by", what, "name one for it under weighting.plan")
    return {domain: list(teachers).index(name) for domain, name in names.items()}


def _complement(share_BK: torch.Tensor) -> torch.Tensor:
    """(1 − share) / (K − 1) of shares that sum to 1; a single teacher has all."""
    teachers = share_BK.shape[1]
    return torch.ones_like(share_BK) if teachers == 1 else (1 - share_BK) / (teachers - 1)

"""Weights fitted on the reward split before the student begins, and fixed from then on."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from raykd.config import WeightingConfig
from raykd.data.tasks import Task
from raykd.weighting.inputs import WeightingInputs, needed
from raykd.weighting.rules import Fixed, gold_losses

log = logging.getLogger(__name__)


class FittedWeighting(Fixed):
    """One weight a teacher, fitted on the reward split."""

    @classmethod
    def from_config(cls, config: WeightingConfig, inputs: WeightingInputs) -> Self:
        """Fits it, and logs the weights."""
        reward, targets = needed(inputs.reward, "a reward split"), needed(inputs.targets, "the teachers' targets")
        logits_KNC = torch.from_numpy(targets(reward.ids))
        labels_N = torch.from_numpy(reward.labels())
        weights = cls.fit(inputs.task, logits_KNC, labels_N)
        named = ", ".join(f"{name} {weight:.3f}" for name, weight in zip(inputs.teachers, weights, strict=True))
        log.info("%s on %d rows of the reward split: %s", config.type, len(reward.ids), named)
        return cls(weights)

    @staticmethod
    @abstractmethod
    def fit(task: Task, logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
        """The K weights, from the teachers' logits and the labels of the split's N rows."""


class Best(FittedWeighting):
    """All for the teacher with the smallest mean loss."""

    @staticmethod
    def fit(task: Task, logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
        """1 for one teacher, 0 for the others."""
        return best(task, logits_KNC, labels_N)


class Logistic(FittedWeighting):
    """The coefficients of a logistic regression on the teachers' log-probabilities."""

    @staticmethod
    def fit(task: Task, logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
        """Coefficients that are not negative, divided by their sum."""
        return logistic(logits_KNC, labels_N)


def logistic(logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
    """b_k ≥ 0 of the regression y ~ softmax(Σ_k b_k log p_k), by maximum likelihood; sum 1.

    A regression of all teachers at once: one that only repeats another gets nothing of its own. Where nothing helps
    (every b is 0), all teachers get the same.
    """
    log_KNC = F.log_softmax(logits_KNC.double(), dim=-1)

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        b_K = torch.tensor(b, dtype=torch.float64, requires_grad=True)
        value = F.cross_entropy(torch.einsum("k,knc->nc", b_K, log_KNC), labels_N)
        (slope,) = torch.autograd.grad(value, b_K)
        return float(value.detach()), slope.numpy()

    teachers = len(log_KNC)
    # A separable split has no largest likelihood; the bound keeps its direction and ends the search.
    fit = minimize(
        loss, np.full(teachers, 1.0 / teachers), jac=True, bounds=[(0.0, 100.0)] * teachers, method="L-BFGS-B"
    )
    b = np.clip(fit.x, 0.0, None)
    return [1.0 / teachers] * teachers if b.sum() == 0 else [float(share) for share in b / b.sum()]


def best(task: Task, logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
    """1 for the teacher with the smallest mean loss, 0 for the others."""
    losses_K = gold_losses(task, logits_KNC, labels_N).mean(-1)
    return [float(k == int(losses_K.argmin())) for k in range(len(losses_K))]

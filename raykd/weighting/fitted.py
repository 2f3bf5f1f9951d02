"""Weights fitted on the reward split before the student begins, and fixed from then on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from raykd.data.tasks import Task
from raykd.weighting.rules import gold_losses


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
    found = minimize(
        loss, np.full(teachers, 1.0 / teachers), jac=True, bounds=[(0.0, 100.0)] * teachers, method="L-BFGS-B"
    )
    b = np.clip(found.x, 0.0, None)
    return [1.0 / teachers] * teachers if b.sum() == 0 else [float(share) for share in b / b.sum()]


def best(task: Task, logits_KNC: torch.Tensor, labels_N: torch.Tensor) -> list[float]:
    """All for the teacher with the smallest mean loss."""
    losses_K = gold_losses(task, logits_KNC, labels_N).mean(-1)
    return [float(k == int(losses_K.argmin())) for k in range(len(losses_K))]

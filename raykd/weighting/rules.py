"""Weights without learning: uniform w_k = 1/K, fixed w_k = a_k / Σ a."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raykd.data.batch import Batch


class Uniform:
    """w_ik = 1 / K."""

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor) -> torch.Tensor:
        """Equal weights [B, K]."""
        teachers, rows, _ = logits_KBC.shape
        return logits_KBC.new_full((rows, teachers), 1.0 / teachers)

    def observe(self, batch: Batch, weights_BK: torch.Tensor, losses_B: torch.Tensor) -> None:
        """Learns nothing."""


class Fixed:
    """w_ik = a_k / Σ_j a_j with the given a ≥ 0."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self.weights = [weight / total for weight in weights]

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor) -> torch.Tensor:
        """The given weights for every row, [B, K]."""
        return logits_KBC.new_tensor(self.weights).expand(logits_KBC.shape[1], -1)

    def observe(self, batch: Batch, weights_BK: torch.Tensor, losses_B: torch.Tensor) -> None:
        """Learns nothing."""

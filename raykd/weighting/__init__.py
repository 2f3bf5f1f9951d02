"""How K teachers are blended, example by example."""

from __future__ import annotations

from typing import Protocol

import torch

from raykd.config import WeightingConfig
from raykd.data.batch import Batch
from raykd.weighting.rules import Fixed, Uniform


class Weighting(Protocol):
    """Chooses the weight of each teacher for each row."""

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor) -> torch.Tensor:
        """Weights [B, K] ≥ 0 that sum to 1 over K, without a gradient. Drawn once a round."""

    def observe(self, batch: Batch, weights_BK: torch.Tensor, losses_B: torch.Tensor) -> None:
        """Told after the student's step what the weights led to."""


def build(config: WeightingConfig) -> Weighting:
    """The weighting of a configuration."""
    match config.type:
        case "uniform":
            return Uniform()
        case "fixed":
            return Fixed(config.weights or [])


__all__ = ["Weighting", "build"]

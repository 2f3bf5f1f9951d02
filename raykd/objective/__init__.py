"""What the student minimises on the soft targets."""

from __future__ import annotations

from typing import Protocol

import torch

from raykd.config import ObjectiveConfig
from raykd.objective.soft import MeanSquaredError, SoftenedKL


class Objective(Protocol):
    """The soft part of the loss, per example."""

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each row, [B]; a loss that couples the batch returns a scalar."""


def build(config: ObjectiveConfig) -> Objective:
    """The objective of a configuration."""
    match config.type:
        case "kl":
            return SoftenedKL(config.temperature)
        case "mse":
            return MeanSquaredError()


__all__ = ["Objective", "build"]

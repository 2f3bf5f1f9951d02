"""What the student minimises on the soft targets."""

from __future__ import annotations

from typing import Protocol

import torch

from raykd.config import ObjectiveConfig, load_implementation


class Objective(Protocol):
    """The soft part of the loss, per example; built by a classmethod `from_config(config)`."""

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each row, [B]; a loss that couples the batch returns a scalar."""


def build(config: ObjectiveConfig) -> Objective:
    """The objective of a configuration.

    Raises:
        ConfigError: its implementation cannot be imported.
    """
    objective: Objective = load_implementation(config).from_config(config)
    return objective


__all__ = ["Objective", "build"]

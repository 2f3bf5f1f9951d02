"""What the student minimises on the soft targets."""

from __future__ import annotations

from raykd.config import ObjectiveConfig, load_implementation
from raykd.objective.base import Objective
from raykd.objective.whole_batch import WholeBatch


def build(config: ObjectiveConfig) -> Objective:
    """The objective of a configuration.

    Raises:
        ConfigError: its implementation cannot be imported.
    """
    objective: Objective = load_implementation(config).from_config(config)
    return objective


def whole_batch(config: ObjectiveConfig, objective: Objective, rank: int, world: int) -> WholeBatch | None:
    """What brings the rows of several workers together; None where the loss of a row depends on no other row."""
    return WholeBatch(objective, config.alpha, rank, world) if config.couples_batch and world > 1 else None


__all__ = ["Objective", "WholeBatch", "build", "whole_batch"]

"""What the teachers learn from the student."""

from __future__ import annotations

from typing import Protocol

import torch

from raykd.config import FeedbackConfig
from raykd.data.batch import Batch
from raykd.feedback.none import NoFeedback


class Feedback(Protocol):
    """May change the teachers around a student's step."""

    def before(self, batch: Batch, weights_BK: torch.Tensor, targets_KBC: torch.Tensor) -> torch.Tensor:
        """The targets [K, B, C] that the step uses: these, or fresh ones of teachers that have just learnt."""

    def after(self, batch: Batch, weights_BK: torch.Tensor, targets_KBC: torch.Tensor) -> None:
        """Called once the student has stepped."""


def build(config: FeedbackConfig) -> Feedback:
    """The feedback of a configuration."""
    match config.type:
        case "none":
            return NoFeedback()


__all__ = ["Feedback", "build"]

"""No feedback: θ_T stays as it is."""

from __future__ import annotations

import torch

from raykd.data.batch import Batch


class NoFeedback:
    """Frozen teachers."""

    def before(self, batch: Batch, weights_BK: torch.Tensor, targets_KBC: torch.Tensor) -> torch.Tensor:
        """The targets as they came, [K, B, C]."""
        return targets_KBC

    def after(self, batch: Batch, weights_BK: torch.Tensor, targets_KBC: torch.Tensor) -> None:
        """Sends nothing."""

"""What every soft loss is: a function of the student's logits, the teachers' and their weights."""

from __future__ import annotations

from typing import Protocol

import torch


class Objective(Protocol):
    """The soft part of the loss, per example; built by a classmethod `from_config(config)`."""

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each row, [B]; a loss that couples the batch may return a scalar, which counts for each row.

        The rows of a loss that couples the batch (`couples_batch` in its configuration) are always those of the whole
        batch, over all workers.
        """

"""One micro-batch of one worker, and its place in the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from raykd.data.rows import NO_CLASS


def has_label(labels_B: torch.Tensor) -> torch.Tensor:
    """Which labels are some, bool [B]: the tensors' form of `rows.has_label`."""
    return ~labels_B.isnan() if labels_B.is_floating_point() else labels_B != NO_CLASS


@dataclass(frozen=True)
class Batch:
    """Rows of one micro-batch.

    Attributes:
        ids: [B] example ids.
        labels_B: [B] int64 classes, or floats in a regression; −1, or NaN, of rows without a label; on the model's
            device.
        encoded: the tokenizer's tensors [B, L]; on the model's device.
        step: optimizer step, from 0.
        micro: index of the micro-batch within the step.
        global_rows: rows of the whole batch over workers and micro-batches; a row weighs 1 / global_rows.
    """

    ids: np.ndarray
    labels_B: torch.Tensor
    encoded: dict[str, torch.Tensor]
    step: int
    micro: int
    global_rows: int

    @property
    def labeled(self) -> torch.Tensor:
        """Which rows have a label, bool [B]."""
        return has_label(self.labels_B)

"""One micro-batch of one worker, and its place in the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """Rows of one micro-batch.

    Attributes:
        ids: [B] example ids.
        labels_B: [B] int64 classes, or floats in a regression; on the model's device.
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

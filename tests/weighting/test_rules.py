"""Weights sum to one and are the ones asked for."""

from __future__ import annotations

import numpy as np
import torch

from raykd.config import WeightingConfig
from raykd.data.batch import Batch
from raykd.weighting import build

BATCH = Batch(np.arange(4), torch.zeros(4, dtype=torch.int64), {}, 0, 0, 4)
LOGITS_KBC = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_uniform() -> None:
    weights = build(WeightingConfig()).weigh(BATCH, LOGITS_KBC)
    assert weights.shape == (4, 3)
    assert weights.dtype == torch.float64
    assert torch.equal(weights, torch.full((4, 3), 1 / 3, dtype=torch.float64))


def test_fixed_is_normalised() -> None:
    weights = build(WeightingConfig(type="fixed", weights=[1, 3, 0])).weigh(BATCH, LOGITS_KBC)
    assert weights.tolist() == [[0.25, 0.75, 0.0]] * 4

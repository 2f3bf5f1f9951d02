"""A worker's share of a draw in parts by length: the same rows and labels, less padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raykd.training.job import WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler

LENGTHS = np.array([7, 2, 5, 9, 1, 4, 4, 8, 3, 6])


class Tokens:
    """As an encoder: row i is its own id, as many times as it has tokens, padded with −1."""

    def __init__(self) -> None:
        self.rows = self

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        return LENGTHS[ids]

    def encode(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        columns_L = np.arange(LENGTHS[ids].max(initial=0))
        return {"input_ids": torch.from_numpy(np.where(columns_L < LENGTHS[ids][:, None], ids[:, None], -1))}

    def labels(self, ids: np.ndarray) -> np.ndarray:
        return 10 * ids


@pytest.mark.parametrize(("rank", "world", "drawn"), [(0, 1, 23), (0, 2, 23), (1, 2, 23), (1, 2, 1)])
def test_parts_by_length_hold_the_share_of_the_worker(rank: int, world: int, drawn: int) -> None:
    encoder: Any = Tokens()
    worker = WorkerContext(rank, world, torch.device("cpu"), 1)
    sampler = ReplacementSampler("quiz", encoder, np.arange(10), drawn, seed=3, worker=worker)
    whole, labels_B = sampler.mine(2, 1)
    parts = sampler.mine_by_length(2, 1, 4)
    assert [len(labels) for _, labels in parts[:-1]] == [4] * (len(parts) - 1)
    ids = np.concatenate([labels.numpy() // 10 for _, labels in parts])
    assert sorted(ids) == sorted(labels_B.numpy() // 10)
    assert list(LENGTHS[ids]) == sorted(LENGTHS[ids])
    for encoded, labels in parts:
        assert torch.equal(encoded["input_ids"], encoder.encode(labels.numpy() // 10)["input_ids"])
    assert sum(encoded["input_ids"].numel() for encoded, _ in parts) <= whole["input_ids"].numel()

"""The order of an epoch: a permutation from (seed, epoch) alone, divided exactly, with little padding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raykd.data.order import WINDOW, batch, epoch_order, mixed_order, share

IDS = np.arange(100, 1103, dtype=np.int64) * 3
LENGTHS = np.random.default_rng(0).integers(5, 128, size=len(IDS))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 1003, 5000])
def test_every_id_once(lengths: np.ndarray | None, batch_size: int) -> None:
    order = epoch_order(1, 2, IDS, batch_size, lengths)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), IDS)
    batches = [batch(order, k, batch_size) for k in range(math.ceil(len(IDS) / batch_size))]
    assert np.array_equal(np.concatenate(batches), order)
    assert all(len(ids) == batch_size for ids in batches[:-1])
    assert 0 < len(batches[-1]) <= batch_size


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_seed_and_epoch_fix_the_order(lengths: np.ndarray | None) -> None:
    np.random.seed(1)
    first = epoch_order(0, 0, IDS, 32, lengths)
    np.random.seed(2)
    assert np.array_equal(first, epoch_order(0, 0, IDS, 32, lengths))
    for seed, epoch in ((0, 1), (1, 0)):
        assert not np.array_equal(first, epoch_order(seed, epoch, IDS, 32, lengths))


@pytest.mark.parametrize("world", [1, 2, 3, 5, 40])
def test_shares_cover_each_batch_exactly(world: int) -> None:
    order = epoch_order(0, 0, IDS, 32, LENGTHS)
    for k in range(math.ceil(len(IDS) / 32)):
        whole = batch(order, k, 32)
        parts = [share(whole, rank, world) for rank in range(world)]
        assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(whole))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def padded(order: np.ndarray) -> int:
    """Tokens of an epoch when each batch is padded to its longest row."""
    by_id = dict(zip(IDS.tolist(), LENGTHS.tolist(), strict=True))
    batches = [batch(order, k, 32).tolist() for k in range(math.ceil(len(order) / 32))]
    return sum(len(ids) * max(by_id[i] for i in ids) for ids in batches)


def test_grouping_saves_padding() -> None:
    plain, grouped = epoch_order(0, 0, IDS, 32, None), epoch_order(0, 0, IDS, 32, LENGTHS)
    assert padded(grouped) < 1.1 * LENGTHS.sum() < padded(plain)


def test_grouped_batches_are_not_in_the_order_of_length() -> None:
    order = epoch_order(0, 0, np.arange(1003), 32, LENGTHS)
    longest = [LENGTHS[batch(order, k, 32)].max() for k in range(31)]
    assert abs(np.corrcoef(longest, np.arange(31))[0, 1]) < 0.5
    # The short last batch is a random draw, not always the longest rows.
    lasts = [LENGTHS[epoch_order(0, epoch, np.arange(1003), 32, LENGTHS)[992:]].mean() for epoch in range(20)]
    assert np.mean(lasts) == pytest.approx(LENGTHS.mean(), rel=0.1)


def test_grouping_stays_within_windows() -> None:
    rows, size = 4 * WINDOW * 2, 2
    plain, grouped = (epoch_order(0, 0, np.arange(rows), size, lengths) for lengths in (None, np.ones(rows)))
    windows = [set(plain[k : k + WINDOW * size].tolist()) for k in range(0, rows, WINDOW * size)]
    for k in range(rows // size):
        assert any(set(batch(grouped, k, size).tolist()) <= window for window in windows)


LABELED, UNLABELED = IDS[:100], IDS[100:]
BY_ID = np.zeros(IDS.max() + 1, dtype=np.int64)
BY_ID[IDS] = LENGTHS


@pytest.mark.parametrize("lengths", [None, BY_ID])
@pytest.mark.parametrize(("part", "count"), [(0.25, 8), (0.001, 1), (0.999, 31)])
def test_every_batch_has_the_same_number_of_labelled_rows(lengths: np.ndarray | None, part: float, count: int) -> None:
    epochs = [mixed_order(3, epoch, LABELED, UNLABELED, 32, part, lengths) for epoch in range(4)]
    for order in epochs:
        assert len(order) == 32 * math.ceil(len(IDS) / 32)
        assert (np.isin(order.reshape(-1, 32), LABELED).sum(1) == count).all()
    for kind in (LABELED, UNLABELED):
        seen = np.concatenate([order[np.isin(order, kind)] for order in epochs])
        times = np.unique(seen, return_counts=True)[1] if len(seen) >= len(kind) else np.ones(1)
        assert times.max() - times.min() <= 1 + (lengths is not None), "permutations of all, one after the other"


def test_both_kinds_are_grouped_by_length() -> None:
    plain, grouped = (mixed_order(3, 0, LABELED, UNLABELED, 32, 0.25, lengths) for lengths in (None, BY_ID))
    assert padded(grouped) < 0.8 * padded(plain)
    assert not np.array_equal(grouped, mixed_order(3, 1, LABELED, UNLABELED, 32, 0.25, BY_ID))

"""Who sees what when: the order of ids comes from (seed, epoch), a worker takes a part of it.

docs/design.md, section "The way of one row".
"""

from __future__ import annotations

import numpy as np

WINDOW = 50
"""Batches among which rows of like length are brought together: little padding, and still random."""


def epoch_order(seed: int, epoch: int, ids: np.ndarray, batch_size: int, lengths: np.ndarray | None) -> np.ndarray:
    """A permutation of ids that depends on (seed, epoch) and on nothing else that varies between runs.

    Args:
        ids: the rows of an epoch, int64 [rows].
        lengths: of those ids, [rows]; rows of like length are then together within windows of 50 batches, and the
            batches are shuffled afterwards. None for a plain permutation.

    Returns:
        The ids in the order in which they are seen; batch k is the slice [k · batch_size, (k + 1) · batch_size).
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    places = rng.permutation(len(ids))
    if lengths is not None:
        places = _grouped(places, np.asarray(lengths), batch_size, rng)
    return ids[places]


def _grouped(places: np.ndarray, lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    full = len(places) - len(places) % batch_size
    # The short last batch is cut off before sorting: it would else hold the longest rows of its window every time.
    whole, rest = places[:full], places[full:]
    step = WINDOW * batch_size
    windows = [whole[start : start + step] for start in range(0, full, step)]
    ordered = [window[np.argsort(lengths[window], kind="stable")] for window in windows]
    if not ordered:
        return places
    batches = np.concatenate(ordered).reshape(-1, batch_size)
    return np.concatenate([batches[rng.permutation(len(batches))].reshape(-1), rest])


def batch(order: np.ndarray, k: int, batch_size: int) -> np.ndarray:
    """The ids of global batch k."""
    return order[k * batch_size : (k + 1) * batch_size]


def share(batch_ids: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The part of a global batch that worker `rank` of `world` takes; it may be empty."""
    return batch_ids[rank::world]

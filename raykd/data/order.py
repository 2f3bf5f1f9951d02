"""Who sees what when: the order of ids comes from (seed, epoch), a worker takes a part of it.

docs/design.md, section "The way of one row".
"""

from __future__ import annotations

import zlib

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


def mixed_order(
    seed: int,
    epoch: int,
    labeled: np.ndarray,
    unlabeled: np.ndarray,
    batch_size: int,
    share: float,
    lengths: np.ndarray | None,
) -> np.ndarray:
    """As `epoch_order`, with the same number of labelled rows in every batch: `share` of it, at least one of each kind.

    Each kind is an endless row of permutations of its own, cut into an epoch of as many full batches as all rows would
    fill: where the share of one kind is larger than its part of the rows, its rows come more often.

    Args:
        labeled, unlabeled: ids of the rows of each kind, int64.
        lengths: of all rows of the file, by id.
    """
    batches = -(-(len(labeled) + len(unlabeled)) // batch_size)
    counts = {"labeled": min(max(round(share * batch_size), 1), batch_size - 1)}
    counts["unlabeled"] = batch_size - counts["labeled"]
    parts = []
    for name, ids in (("labeled", labeled), ("unlabeled", unlabeled)):
        size = counts[name]
        part = _endless(seed, name, ids, epoch * batches * size, batches * size)
        if lengths is not None:
            windows = [part[at : at + WINDOW * size] for at in range(0, len(part), WINDOW * size)]
            part = np.concatenate([window[np.argsort(lengths[window], kind="stable")] for window in windows])
        parts.append(part.reshape(batches, size))
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    together = np.concatenate(parts, axis=1)[rng.permutation(batches)]
    return rng.permuted(together, axis=1).reshape(-1)  # workers and micro-batches take a part of both kinds


def _endless(seed: int, name: str, ids: np.ndarray, start: int, count: int) -> np.ndarray:
    """The places [start, start + count) of one permutation of the ids after the other."""
    first, passes = start // len(ids), []
    for number in range(first, (start + count - 1) // len(ids) + 1):
        key = np.array([seed, zlib.crc32(f"{name}/{number}".encode())], dtype=np.uint64)
        passes.append(np.random.Generator(np.random.Philox(key=key)).permutation(ids))
    return np.concatenate(passes)[start - first * len(ids) :][:count]


def batch(order: np.ndarray, k: int, batch_size: int) -> np.ndarray:
    """The ids of global batch k."""
    return order[k * batch_size : (k + 1) * batch_size]


def share(batch_ids: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The part of a global batch that worker `rank` of `world` takes; it may be empty."""
    return batch_ids[rank::world]

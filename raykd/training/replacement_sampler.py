"""Rows drawn with replacement, as a function of (seed, what for, step, draw) alone; a worker's share of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch

from raykd.data import order
from raykd.data.encoding import Encoder
from raykd.training.job import WorkerContext


def draw_rows(purpose: str, ids: np.ndarray, rows: int, seed: int, step: int, draw: int = 0) -> np.ndarray:
    """So many of the ids, drawn with replacement by the key (seed, purpose, step, draw)."""
    words = np.array([seed, zlib.crc32(f"{purpose}/{step}/{draw}".encode())], dtype=np.uint64)
    return ids[np.random.Generator(np.random.Philox(key=words)).integers(len(ids), size=rows)]


class ReplacementSampler:
    """Draws batches of a quiz or reward split.

    Args:
        purpose: in the key of the draw, so that two purposes draw differently.
        ids: the rows to draw from.
        rows: of a draw, over all workers.
        apart_from: the ids of a step's own batch, where the draw is from the training rows.
        at_most_once: where a draw would be of as many rows as there are, or more, it is all of them, each once.
    """

    def __init__(
        self,
        purpose: str,
        encoder: Encoder,
        ids: np.ndarray,
        rows: int,
        seed: int,
        worker: WorkerContext,
        apart_from: Callable[[int], np.ndarray] | None = None,
        at_most_once: bool = False,
    ) -> None:
        self.whole = at_most_once and rows >= len(ids)
        self.purpose, self.encoder, self.ids = purpose, encoder, ids
        self.rows = len(ids) if self.whole else rows
        self.seed, self.worker, self.apart_from = seed, worker, apart_from

    def draw(self, step: int, draw: int = 0) -> np.ndarray:
        """The ids of all workers."""
        if self.whole:
            return self.ids
        ids = self.ids if self.apart_from is None else np.setdiff1d(self.ids, self.apart_from(step))
        return draw_rows(self.purpose, ids, self.rows, self.seed, step, draw)

    def mine(self, step: int, draw: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """This worker's share, encoded, and its labels [B]; it may be empty."""
        return self._encoded(self._my_ids(step, draw))

    def mine_by_length(self, step: int, draw: int, rows: int) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """The same share in parts of so many rows, short ones first, each padded to its own longest row.

        Returns:
            At least one part, which is empty where the share is.
        """
        ids = self._my_ids(step, draw)
        ids = ids[np.argsort(self.encoder.lengths(ids), kind="stable")]
        return [self._encoded(ids[start : start + rows]) for start in range(0, max(1, len(ids)), rows)]

    def _my_ids(self, step: int, draw: int) -> np.ndarray:
        return order.share(self.draw(step, draw), self.worker.rank, self.worker.world)

    def _encoded(self, ids: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        device = self.worker.device
        encoded = {name: tensor.to(device) for name, tensor in self.encoder.encode(ids).items()}
        return encoded, torch.from_numpy(self.encoder.rows.labels(ids)).to(device)

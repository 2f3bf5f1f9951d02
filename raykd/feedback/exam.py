"""ℓ = CE(z_S(x_q; θ), y_q) on quiz rows drawn with replacement, dropout off; a worker takes its share of the rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd.data import order
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.job import Place


class Exam:
    """Draws quiz batches as a function of (seed, step, draw) alone.

    Args:
        ids: the rows to draw from.
        apart_from: the ids of a step's own batch, where the exam is taken from the training rows.
        rows: of a draw, over all workers.
    """

    def __init__(
        self,
        task: Task,
        encoder: Encoder,
        ids: np.ndarray,
        rows: int,
        seed: int,
        place: Place,
        apart_from: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.task, self.encoder, self.ids, self.rows = task, encoder, ids, rows
        self.seed, self.place, self.apart_from = seed, place, apart_from

    def draw(self, step: int, draw: int) -> np.ndarray:
        """The ids of all workers."""
        words = np.array([self.seed, zlib.crc32(f"quiz/{step}/{draw}".encode())], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=words))
        ids = self.ids if self.apart_from is None else np.setdiff1d(self.ids, self.apart_from(step))
        return ids[rng.integers(len(ids), size=self.rows)]

    def loss(
        self, model: PreTrainedModel, step: int, draw: int
    ) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
        """This worker's share of ℓ, each row weighing 1 / rows, as a function of the student's parameters."""
        mine = order.share(self.draw(step, draw), self.place.rank, self.place.world)
        device = self.place.device
        encoded = {name: tensor.to(device) for name, tensor in self.encoder.encode(mine).items()}
        labels_B = torch.from_numpy(self.encoder.rows.labels(mine)).to(device)

        def loss(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
            if not len(mine):
                return torch.zeros((), dtype=next(iter(parameters.values())).dtype, device=device)
            training = model.training
            model.eval()
            try:
                logits_BC = forward.logits_at(model, parameters, encoded)
            finally:
                model.train(training)
            return self.task.hard_loss(logits_BC, labels_B).sum() / self.rows

        return loss

"""A model's logits and scores on given rows, one forward pass, longest rows together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.collective import gather_rows
from raykd.training.job import WorkerContext

BATCH = 128


def predict(
    model: PreTrainedModel,
    encoder: Encoder,
    ids: np.ndarray,
    device: torch.device,
    answer: Callable[[PreTrainedModel, Mapping[str, torch.Tensor]], torch.Tensor] = forward.logits,
) -> np.ndarray:
    """Logits [len(ids), C] in the order of `ids`, in eval mode and without autocast; the model's mode is put back.

    Args:
        answer: what is taken of the model instead, a vector for each row.
    """
    was_training = model.training
    model.eval()
    order = np.argsort(encoder.lengths(ids), kind="stable") if len(ids) else np.arange(0)
    out: np.ndarray | None = None
    with torch.no_grad():
        for start in range(0, len(ids), BATCH):
            part = order[start : start + BATCH]
            encoded = {name: tensor.to(device) for name, tensor in encoder.encode(ids[part]).items()}
            answers = answer(model, encoded).cpu()
            values = (answers if answers.dtype == torch.float64 else answers.float()).numpy()
            if out is None:
                out = np.empty((len(ids), values.shape[1]), values.dtype)
            out[part] = values
    model.train(was_training)
    return out if out is not None else np.empty((0, 0), np.float32)


def predict_shared(model: PreTrainedModel, encoder: Encoder, ids: np.ndarray, worker: WorkerContext) -> np.ndarray:
    """As `predict`, the rows shared among the workers and the whole result on each of them."""
    parts = gather_rows(predict(model, encoder, ids[worker.rank :: worker.world], worker.device), worker.world)
    filled = next(part for part in parts if part.size)
    out = np.empty((len(ids), filled.shape[1]), filled.dtype)
    for rank, part in enumerate(parts):
        if part.size:
            out[rank :: worker.world] = part
    return out


def mean_loss(task: Task, logits: np.ndarray, labels: np.ndarray) -> float:
    """The hard loss of given predictions."""
    return float(task.hard_loss(torch.from_numpy(logits), torch.from_numpy(labels)).mean())

"""Which teacher counts where: the weights of training rows, summed up by class, domain and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from raykd.data.batch import Batch
from raykd.data.rows import NO_CLASS, Rows
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.records.run_result import TeacherWeights, WeightGroup
from raykd.training.encoder import student_encoder
from raykd.training.job import Job
from raykd.weighting.base import Weighting

FILE = "teacher_weights.parquet"
ROWS = 4_000
"""Rows of the report, spread evenly over a larger training set."""
CHUNK = 256
NO_LABEL = "(no label)"
"""The class of rows without one."""
LENGTHS = 5
"""Classes of length that hold about as many rows each."""


class _Targets(Protocol):
    def get(self, ids: np.ndarray) -> np.ndarray:
        """The teachers' logits, [K, len(ids), C]."""


@dataclass(frozen=True)
class WeightReporter:
    """Weighs rows of the training set once more, at the end of training; on worker 0."""

    job: Job
    names: tuple[str, ...]

    def __call__(
        self, weighting: Weighting, targets: _Targets, model: PreTrainedModel | None, folder: Path
    ) -> dict[str, Any]:
        """Writes the table into `folder` and sums it up as `report_weights` does.

        Args:
            model: the student, which is asked where the weighting needs its answers.
        """
        subset = self.job.train
        rows, encoder = subset.rows(), student_encoder(self.job, subset) if weighting.needs_student else None

        def weigh(ids: np.ndarray) -> np.ndarray:
            encoded: dict[str, torch.Tensor] = {}
            student_BC = None
            if encoder is not None and model is not None:
                encoded = {name: tensor.to(model.device) for name, tensor in encoder.encode(ids).items()}
                student_BC = forward.predicted(model, encoded)
            batch = Batch(ids, torch.from_numpy(rows.labels(ids)), encoded, 0, 0, len(ids))
            return weighting.preference(batch, torch.from_numpy(targets.get(ids)), student_BC).numpy()

        return report_weights(folder / FILE, rows, subset.ids, self.names, weigh, self.job.task)


def report_weights(
    path: Path,
    rows: Rows,
    ids: np.ndarray,
    names: tuple[str, ...],
    weigh: Callable[[np.ndarray], np.ndarray],
    task: Task,
) -> dict[str, Any]:
    """Writes a table of rows and sums it up.

    Args:
        path: of the parquet file: id, label, domain where there is one, length in characters, `weight_TEACHER` each.
        weigh: ids → weights [B, K] (of a policy: π).

    Returns:
        The fields of a `TeacherWeights`.
    """
    if len(ids) > ROWS:
        ids = ids[np.linspace(0, len(ids) - 1, ROWS).astype(np.int64)]
    weights = np.concatenate([weigh(some) for some in _chunks(ids)])
    columns: dict[str, Any] = {"id": ids, "label": rows.labels(ids)}
    domains = rows.domains(ids)
    if domains is not None:
        columns["domain"] = domains
    columns["length"] = rows.lengths[ids]
    table = pd.DataFrame(columns | {f"weight_{name}": weights[:, k] for k, name in enumerate(names)})
    table.to_parquet(path, index=False)
    summary = TeacherWeights(rows=len(ids), all=_means(table, names))
    if task.classes > 1:
        classes = table["label"].map(lambda label: NO_LABEL if label == NO_CLASS else task.labels[int(label)])
        summary.groups["class"] = _by(table, classes, [*task.labels, NO_LABEL], names)
    if domains is not None:
        summary.groups["domain"] = _by(table, table["domain"], sorted(set(domains)), names)
    by_length = _by(table, *_length_classes(table["length"]), names)
    if by_length:  # none where all rows are of one length
        summary.groups["length"] = by_length
    return summary.model_dump()


def _chunks(ids: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _length_classes(lengths: pd.Series) -> tuple[pd.Series, list[str]]:
    """`from–to` in characters of each row, and these classes from short to long."""
    parts = pd.qcut(lengths, LENGTHS, duplicates="drop")
    edges = lengths.groupby(parts, observed=True).agg(["min", "max"])
    names = {part: f"{low}–{high}" for part, (low, high) in zip(edges.index, edges.to_numpy(), strict=True)}
    return parts.map(names).astype(str), list(names.values())


def _means(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, float]:
    return {name: float(table[f"weight_{name}"].mean()) for name in names}


def _by(table: pd.DataFrame, key: pd.Series, order: list[str], names: tuple[str, ...]) -> list[WeightGroup]:
    parts = {str(group): part for group, part in table.groupby(key.to_numpy())}
    return [
        WeightGroup(group=group, rows=len(parts[group]), weight=_means(parts[group], names))
        for group in order
        if group in parts
    ]

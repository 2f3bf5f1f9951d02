"""Who teaches what: the weights that a weighting tends to, row by row of the training set, by class, domain, length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raykd.data.rows import Rows
from raykd.data.tasks import Task
from raykd.records.result import TeacherWeights, WeightGroup

FILE = "teacher_weights.parquet"
ROWS = 4_000
"""Rows looked at, spread evenly over a larger training set."""
CHUNK = 256
LENGTHS = 5
"""Classes of length that hold about as many rows each."""


def survey(
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
        classes = table["label"].map(lambda label: task.labels[int(label)])
        summary.groups["class"] = _by(table, classes, list(task.labels), names)
    if domains is not None:
        summary.groups["domain"] = _by(table, table["domain"], sorted(set(domains)), names)
    summary.groups["length"] = _by(table, *_length_classes(table["length"]), names)
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

"""What predictions.parquet of a run holds: a row for each arm, split and id, so that runs can be compared by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raykd.errors import RunError, one_line
from raykd.records.run_result import RunResult

FILE = "predictions.parquet"
STUDENT = "student"


@dataclass(frozen=True)
class Predictions:
    """An arm's answers on a split, ids ascending.

    Attributes:
        ids: [N] int64.
        labels: [N] class ids, or the values of a regression.
        predicted: [N] the class with the largest logit, or the value of a regression.
    """

    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


def teacher_arm(teacher: str, students: Sequence[str]) -> str:
    """The arm of a teacher: its name, after `teacher` where the student or a baseline has that name."""
    return f"teacher {teacher}" if teacher in (STUDENT, *students) else teacher


def arms_of(result: RunResult) -> list[str]:
    """The arms of a run: the student, its baselines, its teachers."""
    baselines = list(result.baselines)
    return [STUDENT, *baselines, *(teacher_arm(teacher.name, baselines) for teacher in result.teachers)]


def read_predictions(folder: Path) -> dict[tuple[str, str], Predictions]:
    """The answers of a run's folder by (arm, split); empty where it has no such file.

    A file of an earlier version has no columns `arm` and `split`: it holds the student's answers on validation.

    Raises:
        RunError: the file cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    columns = ("arm", "split", "id", "label", "prediction")
    try:
        schema = pq.read_schema(path)
        table = pq.read_table(path, columns=[name for name in columns if name in schema.names])
        if "arm" not in schema.names:
            return {(STUDENT, "validation"): _sorted(table)}
        groups = table.select(["arm", "split"]).group_by(["arm", "split"]).aggregate([]).to_pylist()
        return {(group["arm"], group["split"]): _sorted(_rows(table, **group)) for group in groups}
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise RunError(str(path), f"cannot be read: {one_line(error, 200)}", "run the run again") from None


def _rows(table: pa.Table, arm: str, split: str) -> pa.Table:
    return table.filter(pc.and_(pc.equal(table["arm"], arm), pc.equal(table["split"], split)))


def _sorted(table: pa.Table) -> Predictions:
    ids, labels, predicted = (table[name].to_numpy() for name in ("id", "label", "prediction"))
    order = np.argsort(ids, kind="stable")
    return Predictions(ids[order], labels[order], predicted[order])

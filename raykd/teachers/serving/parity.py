"""Whether two processes have the same teacher: their logits on some rows; too far apart, the run stops."""

from __future__ import annotations

import numpy as np
import torch

from raykd.errors import TeacherError
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.teacher_model import TeacherModel

TOLERANCE = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.1}
"""Largest difference relative to the largest logit: rounding of other kernels and paddings, never another model."""


def probe(source: TargetSource, rows: int) -> float:
    """Compares what is served with a local forward pass on the first rows of the source; see `compare`.

    The local pass runs on this process's CPU in float32 (float64 where the teacher is): it checks that weights,
    columns, tokenizer and precision on the replica's side are what this run believes.

    Raises:
        TeacherError: the two disagree.
    """
    ids = source.wanted[:rows]
    client = TeacherClient(source)
    served = client.get(ids)
    client.close()
    exact = "float64" if source.teacher.dtype == "float64" else "float32"
    local = LocalTeacher(source.teacher, torch.device("cpu"), exact).logits(source.split, ids)
    return compare(source.teacher, served, local, "served logits differ from a local forward")


def compare(teacher: TeacherModel, logits: np.ndarray, expected: np.ndarray, what: str) -> float:
    """The largest difference of logits [N, C] of one teacher, relative to the largest expected one.

    Args:
        what: differs from what, for the error.

    Raises:
        TeacherError: they differ by more than rounding.
    """
    gap = float(np.abs(logits - expected).max(initial=0.0) / max(1.0, float(np.abs(expected).max(initial=0.0))))
    if gap > TOLERANCE[teacher.dtype]:
        problem = f"{what} by {gap:.2g} of the largest logit"
        raise TeacherError(f"teacher {teacher.name}", problem, "is every node reading the same checkpoint?")
    return gap

"""Parity probe: some rows through the served teacher and through a local forward pass; too far apart, the run stops."""

from __future__ import annotations

import numpy as np
import torch

from raykd.errors import TeacherError
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource, TeacherClient

TOLERANCE = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.1}
"""Largest difference relative to the largest logit: rounding of other kernels and paddings, never another model."""


def probe(source: TargetSource, rows: int) -> float:
    """The largest relative difference on the first rows of the source.

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
    gap = float(np.abs(served - local).max() / max(1.0, float(np.abs(local).max())))
    if gap > TOLERANCE[source.teacher.dtype]:
        what = f"served logits differ from a local forward by {gap:.2g} of the largest logit"
        raise TeacherError(f"teacher {source.teacher.name}", what, "is every node reading the same checkpoint?")
    return gap

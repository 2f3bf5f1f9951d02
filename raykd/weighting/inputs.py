"""What a weighting may know beside a batch and its targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from raykd.data.tasks import Task
from raykd.training.job import Job, Subset, WorkerContext

RowsOf = Callable[[np.ndarray], np.ndarray]
"""ids [N] → their rows: vectors [N, H], or the K teachers' logits [K, N, C]."""
T = TypeVar("T")


@dataclass(frozen=True)
class SentenceVectors:
    """Frozen sentence vectors, ids → [N, width]."""

    width: int
    get: RowsOf


@dataclass(frozen=True)
class WeightingInputs:
    """One worker's; plain values and callables.

    Attributes:
        seed: of the run.
        teachers: their names, K.
        targets: the teachers' logits on any training row, ids → [K, N, C]; while the weighting is built and no longer.
        reward: the reward split, where there is one.
        sentences: of a policy, the sentence vectors of the training rows.
        cross_fitted: ids → [K, N, C] from copies of the teachers that were not trained on these rows; None: none.
        worker: this one, and how many there are.
        job: of the student.
        run: the run's name among those that share a policy.
        lease_s: a shared policy ends so long after its last use.
    """

    task: Task
    seed: int
    teachers: tuple[str, ...]
    targets: RowsOf | None = None
    reward: Subset | None = None
    sentences: SentenceVectors | None = None
    cross_fitted: RowsOf | None = None
    worker: WorkerContext | None = None
    job: Job | None = None
    run: str = ""
    lease_s: float = 60.0


def needed(value: T | None, what: str) -> T:
    """An input that this weighting cannot do without.

    Raises:
        ValueError: it is not there.
    """
    if value is None:
        raise ValueError(f"a weighting needs {what} among its inputs")
    return value

"""What a service answers to a student, at once: the rows that it knows, and where the others will come from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import ray

from raykd.teachers.serving.replica import Provenance
from raykd.teachers.serving.values import Values


@dataclass(frozen=True)
class Reply(Provenance):
    """What a service knows of some rows, without waiting for any of them.

    Attributes:
        registered: False after a restart: the client registers its corpus and announces again.
        sealed: the whole table is on disk.
        known: ids whose `values` are here.
        calls: calls under way for the others, by number.
        deferred: rows that no replica has room for yet: ask again.
    """

    registered: bool = True
    sealed: bool = False
    known: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    values: Values | None = None
    calls: dict[int, ray.ObjectRef] = field(default_factory=dict)
    deferred: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

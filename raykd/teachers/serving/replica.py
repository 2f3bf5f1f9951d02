"""A copy of a teacher as an actor: ids in, logits out, nothing else (docs/design.md, "The service")."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from raykd.data.splits import Split
from raykd.errors import TeacherError
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A replica's logits and what they are: a client refuses an answer of another teacher, version or corpus.

    Attributes:
        teacher: its identity, not its name.
        logits: [len(ids), C] in the task's column order.
    """

    teacher: str
    version: int
    corpus: str
    ids: np.ndarray
    logits: np.ndarray
    seconds: float


@dataclass(frozen=True)
class ActorResources:
    """What a replica runs on."""

    num_cpus: float
    num_gpus: float
    threads: int
    resources: dict[str, float]
    node_labels: dict[str, str]

    @property
    def options(self) -> dict[str, Any]:
        """As Ray takes it; without labels there is no selector, which Ray would not take empty."""
        selector = {"label_selector": self.node_labels} if self.node_labels else {}
        return {
            "num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "resources": self.resources or None, **selector,
        }  # fmt: skip


class Replica:
    """Answers calls one after the other; `health` has a thread of its own and answers meanwhile."""

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        # Imported here: the service names this class, and stays free of torch.
        import torch

        from raykd.models import forward
        from raykd.teachers.local import LocalTeacher

        # One thread while loading: Ray calls `infer` in another thread than this one, and a second team of OpenMP
        # threads in the process makes both sleep at every barrier (measured: 15 % slower forwards on 2 cores).
        torch.set_num_threads(1)
        self.teacher, self.threads = teacher, actor_resources.threads
        device, reason = forward.choose_device(actor_resources.num_gpus)
        self.model = LocalTeacher(teacher, device)
        self.rows = 0
        log.info("teacher %s on %s, %d threads", teacher.name, reason, actor_resources.threads)

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        """The logits of these rows; pure, so it may be asked again.

        Raises:
            TeacherError: the teacher's output is not finite.
        """
        import torch

        begun = time.perf_counter()
        torch.set_num_threads(self.threads)
        logits = self.model.logits(split, ids)
        if not np.isfinite(logits).all():
            row = int(ids[~np.isfinite(logits).all(axis=1)][0])
            raise TeacherError(f"teacher {self.teacher.name}", f"its logits for row {row} are not finite")
        self.rows += len(ids)
        teacher = self.teacher
        return Answer(teacher.identity, teacher.version, split.fingerprint, ids, logits, time.perf_counter() - begun)

    @ray.method(concurrency_group="health")
    def health(self) -> dict[str, int]:
        """The process and the rows that it answered."""
        return {"pid": os.getpid(), "rows": self.rows}

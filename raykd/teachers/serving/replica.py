"""A copy of a teacher as an actor: ids in, logits out. `Replica` is the contract, `ModelReplica` runs a checkpoint."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import ray

from raykd.data.splits import Split
from raykd.errors import TeacherError
from raykd.teachers.serving.values import Values, finite_rows
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Provenance:
    """Whose logits these are.

    Attributes:
        teacher: `TeacherModel.identity`, not its name.
        version: 0 for a frozen teacher.
        corpus: the digest of the texts that the ids belong to, `Split.texts`.
    """

    teacher: str
    version: int
    corpus: str

    def check(self, teacher: TeacherModel, version: int, corpus: str) -> None:
        """Refuses logits of another teacher, version or corpus than was asked for.

        Raises:
            TeacherError: with the part that differs.
        """
        for what, received, expected in (
            ("teacher", self.teacher, teacher.identity),
            ("version", self.version, version),
            ("corpus", self.corpus, corpus),
        ):
            if received != expected:
                problem = f"answered with {what} {received}, asked was {expected}"
                raise TeacherError(f"teacher {teacher.name}", problem, "it was not used")


@dataclass(frozen=True)
class Answer(Provenance):
    """A replica's answer.

    Attributes:
        ids: [B] int64, the rows in the order of `values`.
        values: logits [B, C] in the task's column order, or features; in `TeacherModel.wire`'s dtype.
        seconds: that the replica took.
    """

    ids: np.ndarray
    values: Values
    seconds: float


@dataclass(frozen=True)
class ActorResources:
    """What an actor runs on: Ray's resources, torch threads, labels of the node."""

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


def in_health_group(method: Method) -> Method:
    """Decorates an actor's method: it runs in a thread of its own, beside the calls of `infer`."""
    decorated: Any = ray.method(concurrency_group="health")(method)  # Ray's own type would hide the signature
    return cast(Method, decorated)


@runtime_checkable
class Replica(Protocol):
    """What a teacher's service starts as actors, in as many copies as the configuration asks for.

    A class that computes on a GPU, sleeps or asks a server over HTTP satisfies it by these three methods; it must be
    importable (or picklable) where the actors run. An exception from `infer` ends the run with the teacher's name; one
    whose process dies is replaced, and its rows are asked for again.
    """

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        """Makes ready for `infer`; runs once in each actor's process."""

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        """The logits of these rows. Pure: after a fault the same rows are asked for again.

        Args:
            split: where the rows are; `split.open()` reads them.
            ids: [B] int64.

        Raises:
            TeacherError: the teacher cannot answer.
        """
        ...

    def health(self) -> dict[str, int]:
        """`pid`, the actor's process, and `rows`, how many it has answered.

        Decorated with `in_health_group` it answers while `infer` runs.
        """
        ...


class ModelReplica:
    """Runs the teacher's checkpoint; calls are answered one after the other, `health` in a thread of its own."""

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
        """The logits of these rows, by one forward pass; see `Replica.infer`.

        Raises:
            TeacherError: the teacher's output is not finite.
        """
        import torch

        begun = time.perf_counter()
        torch.set_num_threads(self.threads)
        values = self.model.answer(split, ids)
        finite = finite_rows(values)
        if not finite.all():
            what = f"its {self.teacher.output} for row {int(ids[~finite][0])} are not finite"
            raise TeacherError(f"teacher {self.teacher.name}", what)
        self.rows += len(ids)
        teacher = self.teacher
        return Answer(teacher.identity, teacher.version, split.texts, ids, values, time.perf_counter() - begun)

    @in_health_group
    def health(self) -> dict[str, int]:
        """The process and the rows that it answered."""
        return {"pid": os.getpid(), "rows": self.rows}

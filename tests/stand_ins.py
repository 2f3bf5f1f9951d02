"""What the teachers' tests share: prepared teachers, services, and replicas that are slow, die once or lie."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from raykd import models
from raykd.data.corpus import Corpus
from raykd.data.splits import Split
from raykd.data.tasks import Task
from raykd.teachers.serving.replica import ActorResources, Answer, ModelReplica, Replica
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.teacher_model import TeacherModel

SEAT = ActorResources(num_cpus=1, num_gpus=0, threads=1, resources={}, node_labels={})
TASK = Task("classification", "accuracy", ("negative", "positive"))


class SlowReplica(ModelReplica):
    """Takes its time."""

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        time.sleep(0.05)
        return super().infer(split, ids)


class FailingReplica(ModelReplica):
    """The first of them that has answered some rows and is asked again fails in the middle of the call."""

    AFTER = 20  # rows

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        if self.rows > self.AFTER:
            failed = Path(self.teacher.folder) / "failed"
            if not failed.exists():
                failed.touch()
                self.fail()
        return super().infer(split, ids)

    def fail(self) -> None:
        raise NotImplementedError


class DyingReplica(FailingReplica):
    """Fails by the end of its process."""

    def fail(self) -> None:
        os._exit(1)


class DyingLateReplica(DyingReplica):
    """Fails two seconds after its first call has come."""

    AFTER = -1

    def fail(self) -> None:
        time.sleep(2)
        super().fail()


class HangingReplica(FailingReplica):
    """Fails by giving no answer."""

    def fail(self) -> None:
        time.sleep(3600)


class DeafReplica(ModelReplica):
    """Never answers."""

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        time.sleep(3600)
        return super().infer(split, ids)


class LateReplica(ModelReplica):
    """Takes longer to load than a call may take; counts how often it was started."""

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        with (Path(teacher.folder) / "started").open("a") as starts:
            starts.write("x")
        time.sleep(2.5)
        super().__init__(teacher, actor_resources)


class WrongVersionReplica(ModelReplica):
    """Answers as a version that nobody asked for."""

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        return replace(super().infer(split, ids), version=7)


def prepared(folder: Path, name: str = "t", dtype: str = "float64") -> TeacherModel:
    return TeacherModel(
        name=name,
        folder=str(folder),
        columns=(0, 1),
        labels=TASK.labels,
        max_length=32,
        dtype=dtype,
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
        parameters=models.parameter_count(folder),
    )


def own_teacher(teacher: TeacherModel, folder: Path, name: str = "t") -> TeacherModel:
    """The same teacher in a folder of its own, where no replica has failed yet."""
    shutil.copytree(teacher.folder, folder, ignore=shutil.ignore_patterns("failed", "started"))
    return prepared(folder, name)


def spec_of(
    teacher: TeacherModel, cache: Path, replica: type[Replica], replicas: int = 1, tokens: int = 512
) -> TeacherServiceSpec:
    return TeacherServiceSpec(teacher, str(cache), replicas, SEAT, tokens, None, replica)


def ids_of(corpus: Corpus, seed: int = 0) -> np.ndarray:
    """The training rows in some order of need."""
    return np.random.default_rng(seed).permutation(corpus.ids["train"])

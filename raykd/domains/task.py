"""The run of one domain in a process of Ray: what `raykd distill` does, on teachers and rows that are ready."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raykd.config import RunConfig
from raykd.domains.plan import DomainRun
from raykd.records.events import DoneEvent
from raykd.records.log import MetricsLog
from raykd.run import driver
from raykd.run.context import RunContext
from raykd.run.driver import PreparedTeachers
from raykd.run.publish import publish
from raykd.training.interrupt import StopFile


def stop_file(folder: Path) -> StopFile:
    """The request to the runs of all domains in this folder to save and end."""
    return StopFile(folder / "STOP")


@dataclass(frozen=True)
class DomainTask:
    """What crosses to the process.

    Attributes:
        root: the folder of all domains.
        threads: of a worker of the student, where the configuration leaves them open: the cores are shared.
    """

    run: DomainRun
    root: Path
    prepared: PreparedTeachers
    remote: bool
    threads: int


def run_domain(task: DomainTask) -> float | None:
    """Trains the student and the baselines of a domain, or resumes them, and writes the run's folder.

    Returns:
        The student's value on the reported split.

    Raises:
        Interrupted: the request to stop was made; a checkpoint is saved.
        RunError, TeacherError: the run failed.
    """
    run, folder = task.run, task.run.folder
    with folder.claimed(run.config):
        result = folder.run_result()
        if result is None:
            train = run.config.train
            settings = train.model_copy(update={"threads": train.threads or task.threads})
            context = RunContext(
                run.config.model_copy(update={"train": settings}),
                folder, run.corpus, run.task, task.remote, stop_file(task.root),
                MetricsLog(folder.path / "metrics.jsonl"), in_task=True,
            )  # fmt: skip
            result = driver.distill(context, task.prepared)
            context.metrics.write(DoneEvent())
            publish(folder, run.config, result)
    return result.reported_value(result)


def task_resources(config: RunConfig, remote: bool, gpus: bool) -> dict[str, Any]:
    """What Ray reserves for a run's process: the student's worker where it trains in it, else nothing.

    On a local Ray no CPU: there CPUs count places, and how many runs there are at once is decided by the cores. The
    default strategy, so that a run is in no placement group and its services are placed beside it.

    Args:
        gpus: whether the GPUs of this Ray are enough for a run and its teachers.
    """
    train = config.train
    if train.workers > 1:
        return {"num_cpus": 0}
    if not remote:
        return {"num_cpus": 0, "num_gpus": train.worker_gpus if gpus else 0}
    return {"num_cpus": train.worker_cpus, "num_gpus": train.worker_gpus, "resources": dict(train.worker_resources)}


def beside_of(config: RunConfig) -> dict[str, float]:
    """What a run takes of Ray's resources beside its student: teachers that learn, and services that it may start: of
    teachers that a baseline has trained, of features that are not stored."""
    serves = "quiz_teacher" in config.baselines or config.objective.features is not None
    needed = {"CPU": 0.0, "GPU": 0.0}
    for teacher, learns in zip(config.teachers, config.trainable_teachers, strict=True):
        processes = config.trainer_ranks * learns + teacher.replicas * serves
        needed["CPU"] += processes * teacher.num_cpus
        needed["GPU"] += processes * teacher.gpus
    return needed


def threads_of(config: RunConfig, at_once: int, remote: bool) -> int:
    """Torch threads of a worker of a student: the CPUs that it has on a cluster, its share of this machine's cores."""
    train = config.train
    return max(1, int(train.worker_cpus)) if remote else max(1, (os.cpu_count() or 1) // (at_once * train.workers))

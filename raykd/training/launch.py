"""Where a job runs: one worker on a local Ray in this process, several workers or a cluster through Ray Train."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from raykd.config import OptimConfig
from raykd.errors import RaykdError, RunError, TrainerLost
from raykd.models import forward
from raykd.ray_errors import last_line
from raykd.training import loop
from raykd.training.interrupt import StopFile, in_thread
from raykd.training.job import Job, Outcome, WorkerContext

log = logging.getLogger(__name__)
RESIZE_S = 30.0
"""Between two looks at the places that a group of workers that may grow or shrink could have."""


def launch(job: Job, stop: threading.Event, remote: bool, trial: loop.Report | None = None) -> Outcome:
    """Trains to the end or until `stop` is set.

    Args:
        remote: Ray is a cluster that was joined: the worker sits on a node with its resources, not on the driver's.
        trial: inside a trial of a study, what is called at evaluations. This process has the trial's resources, so one
            worker trains in it, on a cluster too; of several, worker 0 reports through Ray Tune's own callback.

    Raises:
        RunError: the workers failed more often than `max_failures` allows, or their resources cannot be had.
    """
    if job.settings.workers == 1 and (trial is not None or not remote):
        return _here(job, stop, trial or (lambda metrics: None))
    return _through_train(job, stop, remote, trial is not None)


def _here(job: Job, stop: threading.Event, report: loop.Report) -> Outcome:
    """In this process; a lost teacher or policy sends it back to the last checkpoint, at most `max_failures` times."""
    worker = _place(job.settings, 0, 1, shared=False)
    left = job.settings.max_failures
    while True:
        try:
            return loop.train(job, worker, report=report, stop=stop.is_set)
        except TrainerLost as error:
            if not left:
                raise
            left -= 1
            log.warning("%s: going back to the last checkpoint", error)


def _place(settings: OptimConfig, rank: int, world: int, shared: bool) -> WorkerContext:
    device, reason = forward.choose_device(settings.worker_gpus)
    log.debug("worker %d: %s", rank, reason)
    cores = os.cpu_count() or 1
    # On a cluster a worker has the cores that it asked for; on one machine the workers share what there is.
    threads = settings.threads or (max(1, int(settings.worker_cpus)) if shared else max(1, cores // world))
    return WorkerContext(rank, world, device, threads)


def _stop_file(job: Job) -> StopFile:
    return StopFile(Path(job.folder) / "STOP")


def _worker(config: dict[Any, Any]) -> dict[str, Any]:
    """Runs in each of Ray Train's workers."""
    job: Job = config["job"]
    context = ray.train.get_context()
    worker = _place(job.settings, context.get_world_rank(), context.get_world_size(), shared=config["remote"])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    outcome = loop.train(job, worker, report=ray.train.report, stop=_stop_file(job).is_set)
    return outcome.as_dict()


def _through_train(job: Job, stop: threading.Event, remote: bool, in_trial: bool) -> Outcome:
    settings, folder = job.settings, Path(job.folder)
    storage, stop_file = folder / "ray_train", _stop_file(job)
    stop_file.clear()
    resources = {"CPU": settings.worker_cpus, **settings.worker_resources}
    if settings.worker_gpus:
        resources["GPU"] = settings.worker_gpus
    # Ray types ray.train's names as Train V1's; V2, which is what they are, takes these arguments.
    trainer = TorchTrainer(
        _worker,  # type: ignore[arg-type]
        train_loop_config={"job": job, "remote": remote},
        scaling_config=ScalingConfig(
            num_workers=_group_size(settings),  # type: ignore[arg-type]
            use_gpu=settings.worker_gpus > 0,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=RESIZE_S,  # type: ignore[call-arg]
        ),
        run_config=RunConfig(
            # A fresh name each time: a job resumes from the checkpoints in its own folder, not from Ray's.
            name=uuid.uuid4().hex[:12],
            storage_path=str(storage),
            callbacks=[TuneReportCallback()] if in_trial else [],  # type: ignore[list-item]
            failure_config=FailureConfig(max_failures=settings.max_failures, controller_failure_limit=3),  # type: ignore[call-arg]
        ),
    )
    try:
        result: Any = in_thread(trainer.fit, stop, stop_file.set)
    except Exception as error:
        raise _failure(error) from error
    finally:
        stop_file.clear()
        shutil.rmtree(storage, ignore_errors=True)
    return Outcome.from_dict(result.return_value)


def _group_size(settings: OptimConfig) -> int | tuple[int, int]:
    """As Ray Train takes it: a number, or the fewest and the most."""
    return settings.workers if settings.min_workers is None else (settings.min_workers, settings.workers)


def _failure(error: Exception) -> RaykdError:
    """The worker's own error where it was one of ours, else one line of what Train reports."""
    workers: dict[int, Exception] = getattr(error, "worker_failures", {})
    for failure in workers.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, RaykdError):
                return cause
            cause = cause.__cause__
    first = next(iter(workers.values()), error)
    return RunError("student workers", last_line(first), "see the log above")

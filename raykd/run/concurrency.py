"""How many runs of one driver train at once: a study's trials, or the students of several domains."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import ray

from raykd.config import RunConfig

log = logging.getLogger(__name__)


def runs_at_once(
    config: RunConfig, runs: int, remote: bool, configured: int | None = None, beside: Mapping[str, float] | None = None
) -> int:
    """How many of so many runs train at once, at least 1; logged with its reason.

    Args:
        remote: Ray is a cluster: what it has room for. Else what this machine's cores hold.
        configured: the number that the configuration asks for.
        beside: by name, what a run takes of Ray's resources beside its student's workers.
    """
    train = config.train
    if configured is not None:
        chosen, reason = configured, "as configured"
    elif remote:
        needed = needed_by_run(config, beside or {}, workers=True)
        chosen, reason = _room(needed), "what the cluster has room for"
    else:
        cores = os.cpu_count() or 1
        chosen, reason = cores // (train.workers * (train.threads or 1)), f"{cores} cores"
        # One worker trains in the run's own process, for which nothing is reserved on a local Ray.
        places = _room(needed_by_run(config, beside, workers=train.workers > 1)) if beside is not None else chosen
        if places < chosen:
            chosen, reason = places, "the CPUs and GPUs of the local Ray"
    chosen = max(1, min(chosen, runs))
    log.info("%d runs at once: %s", chosen, reason)
    return chosen


def needed_by_run(config: RunConfig, beside: Mapping[str, float], workers: bool) -> dict[str, float]:
    """What a run takes of Ray's resources: `beside`, its workers' GPUs, and with `workers` their CPUs and others."""
    train = config.train
    of_worker = {"GPU": train.worker_gpus}
    if workers:
        of_worker |= {"CPU": train.worker_cpus, **train.worker_resources}
    names = [*of_worker, *(name for name in beside if name not in of_worker)]
    return {name: train.workers * of_worker.get(name, 0.0) + beside.get(name, 0.0) for name in names}


def _room(needed: Mapping[str, float]) -> int:
    """How many runs this Ray has room for; very many where they take nothing."""
    available = ray.cluster_resources()
    return int(min((available.get(name, 0) // amount for name, amount in needed.items() if amount), default=10**6))

"""What services and trainers run on: resources, threads, and whether this Ray has them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.actor import ActorHandle

from raykd.config import EndpointTeacherConfig, GivenTeacherConfig, ModelTeacherConfig, RunConfig, TeacherConfig
from raykd.errors import ConfigError
from raykd.ray_errors import NAMESPACE
from raykd.teachers.serving.endpoint_replica import EndpointReplica
from raykd.teachers.serving.replica import ActorResources, ModelReplica
from raykd.teachers.serving.service_spec import TeacherServiceSpec, keeper_name
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
CPU_TOKENS, GPU_TOKENS = 2048, 32768
"""Tokens of a call: on a CPU larger ones leave its caches (measured 20 % slower at 4096, 6 layers of 384)."""


def service_spec(
    teacher: TeacherModel, config: TeacherConfig, cache: Path, threads: int, lease_s: float | None
) -> TeacherServiceSpec:
    """A service as the configuration asks for it; its replicas run the teacher's checkpoint or ask its endpoint."""
    actor_resources = ActorResources(config.num_cpus, config.gpus, threads, config.resources, config.node_labels)
    return TeacherServiceSpec(
        teacher, str(cache), config.replicas, actor_resources, _call_tokens(config), lease_s,
        ModelReplica if teacher.endpoint is None else EndpointReplica, call_timeout_s=config.call_timeout_s,
        ensemble=config.ensemble if isinstance(config, GivenTeacherConfig) else None,
    )  # fmt: skip


def _call_tokens(config: TeacherConfig) -> int:
    """Tokens of one call; of an endpoint rows, each of which counts as one token (`TeacherModel.max_length` is 1)."""
    if isinstance(config, EndpointTeacherConfig):
        return config.batch_rows
    own = config.batch_tokens if isinstance(config, ModelTeacherConfig) else None
    return own or (GPU_TOKENS if config.gpus else CPU_TOKENS)


def choose_threads(configs: Sequence[TeacherConfig], students: int, remote: bool, overlap: bool) -> list[int]:
    """Torch threads of each teacher's replicas, logged with their reason.

    On a cluster a replica has the cores that it asked for. On one machine the replicas share the cores, with the
    students too where they run at the same time: Ray alone would give each of them a single thread.
    """
    cores = os.cpu_count() or 1
    at_once = sum(config.replicas for config in configs if config.uses_cores) + (students if overlap else 0)
    shared = max(1, cores // max(1, at_once))
    chosen = [_own_threads(config) or (max(1, int(config.num_cpus)) if remote else shared) for config in configs]
    log.info("teacher threads %s: %d cores, %d processes at once", chosen, cores, at_once)
    return chosen


def _own_threads(config: TeacherConfig) -> int | None:
    """As configured; one where a server computes."""
    return config.threads if isinstance(config, ModelTeacherConfig) else 1


def trainer_resources(config: RunConfig, remote: bool) -> list[ActorResources | None]:
    """What the ranks of each teacher that learns run on, None for the others; as `choose_threads` decides threads.

    Student and teachers take turns within a round, so on one machine the ranks share all its cores.
    """
    ranks = sum(config.trainable_teachers) * config.trainer_ranks
    cores = max(1, (os.cpu_count() or 1) // max(1, ranks))
    return [
        ActorResources(
            teacher.num_cpus, teacher.gpus,
            _own_threads(teacher) or (max(1, int(teacher.num_cpus)) if remote else cores),
            teacher.resources, teacher.node_labels,
        )
        if trainable
        else None
        for teacher, trainable in zip(config.teachers, config.trainable_teachers, strict=True)
    ]  # fmt: skip


def check_ensemble(spec: TeacherServiceSpec) -> None:
    """Refuses a teacher of a served ensemble that is not up: the run would serve it with this run's lease."""
    if spec.ensemble is not None and keeper_of(spec.ensemble) is None:
        where, what = f"teacher {spec.teacher.name}", f"its ensemble {spec.ensemble} is not up on this Ray"
        raise ConfigError(where, what, "give --address of its cluster, or start it: raykd serve up CONFIG")


def keeper_of(ensemble: str) -> ActorHandle | None:
    """The actor that keeps a served ensemble; None where it is not up on this Ray."""
    try:
        keeper: ActorHandle = ray.get_actor(keeper_name(ensemble), namespace=NAMESPACE)
    except ValueError:
        return None
    return keeper


def check_resources(spec: TeacherServiceSpec) -> None:
    """Refuses what this Ray can never have; a cluster may still grow into it, so there it only warns."""
    available = ray.cluster_resources()
    needed = {
        "CPU": spec.actor_resources.num_cpus,
        "GPU": spec.actor_resources.num_gpus,
        **spec.actor_resources.resources,
    }
    for name, amount in needed.items():
        if amount > available.get(name, 0):
            what = f"asks for {amount:g} {name}, this Ray has {available.get(name, 0):g}"
            if spec.lease_s is None:
                mend = "lower num_cpus, num_gpus or resources, or raise cluster.num_cpus"
                raise ConfigError(f"teacher {spec.teacher.name}", what, mend)
            log.warning("teacher %s %s; waiting for the cluster to grow", spec.teacher.name, what)

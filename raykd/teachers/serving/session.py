"""The driver's end: which rows of which teacher are missing, the services that compute them, waiting for them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from raykd.config import EndpointTeacherConfig, GivenTeacherConfig, ModelTeacherConfig, RunConfig, TeacherConfig
from raykd.data.splits import Split
from raykd.errors import ConfigError, Interrupted, RaykdError
from raykd.ray_errors import NAMESPACE, cause_of, first_line
from raykd.records.events import TargetsEvent
from raykd.records.log import MetricsLog
from raykd.teachers.serving.client import TargetSource, register
from raykd.teachers.serving.endpoint_replica import EndpointReplica
from raykd.teachers.serving.replica import ActorResources, ModelReplica
from raykd.teachers.serving.service import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec, keeper_name
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
POLL_S = 0.1
NO_IDS = np.empty(0, np.int64)
"""What is announced to a service that stores nothing: it computes rows when they are asked for."""
CPU_TOKENS, GPU_TOKENS = 2048, 32768
"""Tokens of a call: on a CPU larger ones leave its caches (measured 20 % slower at 4096, 6 layers of 384)."""


@dataclass(frozen=True)
class TargetRequest:
    """Rows of a split that a run needs soft targets of, in the order in which it needs them."""

    split: Split
    ids: np.ndarray


@dataclass
class Counters:
    """Work of a teacher's replicas: rows computed for this run, rows forwarded for anybody, seconds of forwards."""

    rows_computed: int = 0
    forwards: int = 0
    seconds: float = 0.0


@dataclass
class TeacherStatus:
    """One teacher of a run, its service, and what the run's rows cost.

    Attributes:
        service: the actor's handle; None where all rows are stored.
        pid: of the service's process; another one means that it was restarted and counts from 0.
        logged_rows: answered rows in the newest `targets` event.
        cost_before: of the service's earlier processes.
        cost_now: of its present process.
    """

    teacher: TeacherModel
    spec: TeacherServiceSpec
    service: ActorHandle | None = None
    pid: int = 0
    logged_rows: int = -1
    cost_before: Counters = field(default_factory=Counters)
    cost_now: Counters = field(default_factory=Counters)

    @property
    def cost(self) -> Counters:
        """What this run's pass took, over restarts of the service."""
        pairs = zip(vars(self.cost_before).values(), vars(self.cost_now).values(), strict=True)
        return Counters(*(before + now for before, now in pairs))


class TeacherSession:
    """The teachers of one run and their services; a context manager that ends or releases what it started.

    Args:
        specs: a service for each teacher, started only where rows are missing.
        requests: the rows that the run needs, by split (train, validation, test).
        run: the run's name among those that share a service.
    """

    def __init__(self, specs: Sequence[TeacherServiceSpec], requests: dict[str, TargetRequest], run: str) -> None:
        self.requests, self.run = requests, run
        self.served = [TeacherStatus(spec.teacher, spec) for spec in specs]
        self._whole: dict[tuple[str, str], TargetSource] = {}  # a look at a table hashes all of it
        self._watcher: threading.Thread | None = None
        self._ended = threading.Event()
        self._failure: RaykdError | None = None

    def __enter__(self) -> TeacherSession:
        for served in self.served:
            if any(source.service is not None for source in self._sources(served)):
                _check_ensemble(served.spec)
                _check_resources(served.spec)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        for served in self.served:
            if served.service is None:
                continue
            try:
                if served.spec.lease_s is None:
                    ray.get(served.service.close.remote(), timeout=10)
                    ray.kill(served.service)
                else:
                    served.service.release.remote(self.run)
            except RayError:
                log.debug("the service of teacher %s was gone already", served.teacher.name)
            served.service = None

    def sources(self, split: str) -> list[TargetSource]:
        """Every teacher's source of the soft targets for one split (train, validation, test)."""
        return [self.source(served, split) for served in self.served]

    def source(self, served: TeacherStatus, split: str) -> TargetSource:
        """One teacher's source of the soft targets for one split; without a service where the store has them all."""
        request, teacher, spec = self.requests[split], served.teacher, served.spec
        key = (teacher.name, split)
        if key not in self._whole:
            if spec.keep_bytes is not None:
                return TargetSource(teacher, request.split, spec.cache, self.run, NO_IDS, spec)
            table = teacher.store(Path(spec.cache), request.split.texts).sealed()
            if table is None or not table.covers(request.ids).all():
                return TargetSource(teacher, request.split, spec.cache, self.run, request.ids, spec)
            self._whole[key] = TargetSource(teacher, request.split, spec.cache, self.run, request.ids, None)
        return self._whole[key]

    def start(self, metrics: MetricsLog) -> None:
        """Starts (or joins) the services of teachers with missing rows; they begin to fill them at once.

        A thread follows them until all is sealed: it feeds the display, keeps the leases of shared services and the
        counters of what this run's rows cost.
        """
        for served in self.served:
            self._register(served)
        if any(served.service is not None for served in self.served):
            self._watcher = threading.Thread(target=self._watch, args=(metrics,), daemon=True)
            self._watcher.start()

    def wait(self, stop: threading.Event) -> None:
        """Waits until every table is sealed; not for services that store nothing.

        Raises:
            TeacherError: a teacher cannot answer.
            Interrupted: `stop` was set; finished rows are kept.
        """
        if any(served.spec.keep_bytes is not None for served in self.served):
            return
        while self._watcher is not None and self._watcher.is_alive():
            if stop.is_set():
                raise Interrupted("soft targets", "stopped; finished rows are kept", "the same command resumes")
            self._watcher.join(POLL_S)
        if self._failure is not None:
            raise self._failure

    def _register(self, served: TeacherStatus) -> None:
        for source in self._sources(served):
            if source.service is not None:
                # A local service lives as long as this first handle; a shared one may have ended with its lease.
                served.service = connect(served.spec) if served.spec.lease_s else served.service or connect(served.spec)
                register(source)

    def _watch(self, metrics: MetricsLog) -> None:
        try:
            open_ones = [served for served in self.served if served.service is not None]
            while open_ones and not self._ended.wait(POLL_S):
                open_ones = [served for served in open_ones if not self._poll(served, metrics)]
        except RaykdError as error:  # carried over to the waiting thread, which raises it
            self._failure = error

    def _poll(self, served: TeacherStatus, metrics: MetricsLog) -> bool:
        """Takes in a service's counters; true when all that this run wants of it is sealed."""
        assert served.service is not None
        try:
            state: dict[str, Any] = cast(Any, ray.get(served.service.progress.remote(self.run)))
        except RayTaskError as error:
            raise cause_of(error) from None
        except RayError as error:
            log.warning("the service of teacher %s restarts: %s", served.teacher.name, first_line(error))
            return self._again(served)
        corpora = state["corpora"]
        if state["pid"] != served.pid:  # a restarted service counts from 0
            served.pid, served.cost_before = state["pid"], served.cost
        computed = sum(entry["computed"] for entry in corpora.values())
        served.cost_now = Counters(computed, state["forwards"], state["seconds"])
        if served.spec.keep_bytes is not None:
            return False
        needed = {request.split.texts for request in self.requests.values()}
        if not needed <= set(corpora):
            return self._again(served)
        total = sum(corpora[corpus]["announced"] for corpus in needed)
        missing = sum(corpora[corpus]["missing"] for corpus in needed)
        if total - missing != served.logged_rows:
            served.logged_rows = total - missing
            metrics.write(TargetsEvent(teacher=served.teacher.name, rows=served.logged_rows, of=total))
        return all(corpora[corpus]["sealed"] for corpus in needed)

    def _again(self, served: TeacherStatus) -> bool:
        """After a restart, or the end of a lease: nothing is to be done where all is on disk by now."""
        if all(source.service is None for source in self._sources(served)):
            return True
        self._register(served)
        return False

    def rows_wanted(self) -> int:
        """Rows of one teacher that this run uses."""
        by_split: dict[str, list[np.ndarray]] = {}
        for request in self.requests.values():
            by_split.setdefault(request.split.texts, []).append(request.ids)
        return sum(len(np.unique(np.concatenate(parts))) for parts in by_split.values())

    def _sources(self, served: TeacherStatus) -> list[TargetSource]:
        return [self.source(served, split) for split in self.requests]


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


def _check_ensemble(spec: TeacherServiceSpec) -> None:
    """Refuses a teacher of a served ensemble that is not up: the run would serve it with this run's lease."""
    if spec.ensemble is None:
        return
    try:
        ray.get_actor(keeper_name(spec.ensemble), namespace=NAMESPACE)
    except ValueError:
        where, what = f"teacher {spec.teacher.name}", f"its ensemble {spec.ensemble} is not up on this Ray"
        raise ConfigError(where, what, "give --address of its cluster, or start it: raykd serve up CONFIG") from None


def _check_resources(spec: TeacherServiceSpec) -> None:
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

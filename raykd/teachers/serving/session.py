"""The driver's end: which rows of which teacher are missing, the services that compute them, waiting for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from raykd.data.splits import Split
from raykd.errors import Interrupted, RaykdError, TeacherError
from raykd.ray_errors import cause_of, first_line
from raykd.records.events import TargetsEvent
from raykd.records.log import MetricsLog
from raykd.teachers.serving.client import TargetSource, register
from raykd.teachers.serving.placement import check_ensemble, check_resources
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
POLL_S = 0.1
STALL_S = 60.0
"""A pass in which nothing has come for so long is told of."""
NO_IDS = np.empty(0, np.int64)
"""What is announced to a service that stores nothing: it computes rows when they are asked for."""


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
        moved_at: when there were more of them.
        warned_at: when there were more of them, or when it was last said that there were not.
        cost_before: of the service's earlier processes.
        cost_now: of its present process.
    """

    teacher: TeacherModel
    spec: TeacherServiceSpec
    service: ActorHandle | None = None
    pid: int = 0
    logged_rows: int = -1
    moved_at: float = field(default_factory=time.monotonic)
    warned_at: float = field(default_factory=time.monotonic)
    cost_before: Counters = field(default_factory=Counters)
    cost_now: Counters = field(default_factory=Counters)

    @property
    def cost(self) -> Counters:
        """What this run's pass took, over restarts of the service."""
        pairs = zip(vars(self.cost_before).values(), vars(self.cost_now).values(), strict=True)
        return Counters(*(before + now for before, now in pairs))

    def moved(self, rows: int) -> None:
        """So many rows are answered, more than before."""
        self.logged_rows = rows
        self.moved_at = self.warned_at = time.monotonic()

    def check_stall(self, missing: int, calls: Sequence[int], timeout_s: float | None) -> None:
        """Says once a minute that no row has come: a cluster that has no place for replicas is else silent.

        Args:
            calls: under way, of each replica.
            timeout_s: seconds without a row that are too many.

        Raises:
            TeacherError: so many are over.
        """
        now = time.monotonic()
        if not missing or now - self.warned_at <= min(STALL_S, timeout_s or STALL_S):
            return
        self.warned_at = now
        replicas = f"replicas started: {len(calls)} of {self.spec.replicas}, calls under way: {sum(calls)}"
        what = f"no row in the last {now - self.moved_at:.0f} s, {missing} are missing; {replicas}"
        if timeout_s is not None and now - self.moved_at > timeout_s:
            mend = "are its resources available? finished rows are kept; cluster.stall_timeout_s is how long to wait"
            raise TeacherError(f"teacher {self.teacher.name}", what, mend)
        log.warning("teacher %s: %s", self.teacher.name, what)


class TeacherSession:
    """The teachers of one run and their services; a context manager that ends or releases what it started.

    Args:
        specs: a service for each teacher, started only where rows are missing.
        requests: the rows that the run needs, by split (train, validation, test).
        run: the run's name among those that share a service.
        stall_timeout_s: a pass in which no row has come for so long fails; None: it waits.
    """

    def __init__(
        self,
        specs: Sequence[TeacherServiceSpec],
        requests: dict[str, TargetRequest],
        run: str,
        stall_timeout_s: float | None = None,
    ) -> None:
        self.requests, self.run, self._stall_timeout_s = requests, run, stall_timeout_s
        self.served = [TeacherStatus(spec.teacher, spec) for spec in specs]
        self._whole: dict[tuple[str, str], TargetSource] = {}  # a look at a table hashes all of it
        self._watcher: threading.Thread | None = None
        self._ended = threading.Event()
        self._failure: RaykdError | None = None

    def __enter__(self) -> TeacherSession:
        for served in self.served:
            if any(source.service is not None for source in self._sources(served)):
                check_ensemble(served.spec)
                check_resources(served.spec)
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
            log.warning("the service of teacher %s did not answer: %s", served.teacher.name, first_line(error))
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
        if total - missing == served.logged_rows:
            served.check_stall(missing, state["replicas"], self._stall_timeout_s)
        else:
            served.moved(total - missing)
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

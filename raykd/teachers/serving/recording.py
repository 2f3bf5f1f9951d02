"""Records the metrics of metrics.py through `ray.util.metrics`; where no Ray is initialised, nothing.

A gauge that is not set again vanishes after two report intervals, so all are set at each report. Counters are added up
in `Traffic` and recorded as differences. What a process records in the last report interval before its end is lost.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable

import ray
from ray.util import metrics as ray_metrics

from raykd.teachers.serving import metrics
from raykd.teachers.serving.corpus_targets import CorpusTargets
from raykd.teachers.serving.metrics import MetricSpec
from raykd.teachers.serving.replica_pool import ReplicaPool
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.usage import Clock, Traffic

EVERY_S = 1.0
"""Between two reports of one process."""
Tags = dict[str, str]


def record(metric: MetricSpec, value: float, tags: Tags | None = None) -> None:
    """Adds to a counter (an amount of 0 is passed over), sets a gauge or observes a value of a histogram."""
    if not ray.is_initialized():
        return
    match _of_ray(metric):
        case ray_metrics.Counter() as counter:
            if value > 0:  # Ray refuses 0
                counter.inc(value, tags or {})
        case ray_metrics.Gauge() as gauge:
            gauge.set(value, tags or {})
        case ray_metrics.Histogram() as histogram:
            histogram.observe(value, tags or {})


def tags_of(spec: TeacherServiceSpec) -> Tags:
    """The tags of everything that a service records."""
    return dict(zip(metrics.SERVICE_TAGS, (spec.teacher.name, spec.teacher.identity[:8]), strict=True))


def record_teacher_failure(spec: TeacherServiceSpec) -> None:
    """A teacher has failed. The keeper of an ensemble records it: it ends the service before that can report it."""
    record(metrics.FAILURES, 1, tags_of(spec) | {"kind": "data"})


class ServiceRecorder:
    """Reports what a service counts, at most every `EVERY_S`; its service holds its lock around it.

    Args:
        traffic, pool: of the service; they are read alone.
    """

    def __init__(
        self, spec: TeacherServiceSpec, traffic: Traffic, pool: ReplicaPool, clock: Clock = time.monotonic
    ) -> None:
        self._spec, self._traffic, self._pool, self._clock = spec, traffic, pool, clock
        self._tags = tags_of(spec)
        self._next = clock()
        self._recorded: dict[MetricSpec, float] = {}
        self._failed = False
        record(metrics.SERVICE_RESTARTS, int(_is_restarted_actor()), self._tags)

    def report(self, calls: int, failed: bool, corpora: Iterable[CorpusTargets]) -> None:
        """Records everything, where it is time to.

        Args:
            calls: under way.
            failed: the teacher has failed.
        """
        if self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_S
        self._count()
        if failed and not self._failed and self._spec.ensemble is None:
            record_teacher_failure(self._spec)
        self._failed = failed
        for seconds in self._traffic.recoveries.take():
            record(metrics.RECOVERY_SECONDS, seconds, self._tags)
        states = Counter(replica["state"] for replica in self._pool.states())
        for state in metrics.REPLICA_STATES:
            record(metrics.REPLICAS, states[state], self._tags | {"state": state})
        record(metrics.CALLS_IN_FLIGHT, calls, self._tags)
        record(metrics.OLDEST_IN_FLIGHT, self._pool.oldest_s(), self._tags)
        missing = sum(entry.ledger.missing for entry in corpora if not entry.sealed)
        record(metrics.QUEUE_ROWS, missing, self._tags)

    def _count(self) -> None:
        traffic = self._traffic
        infra = {"kind": "infra"}
        counts: list[tuple[MetricSpec, int, Tags]] = [
            (metrics.ROWS_ASKED, traffic.asked, {}),
            (metrics.ROWS_SERVED_AT_ONCE, traffic.known, {}),
            (metrics.ROWS_COMPUTED, traffic.forwards, {}),
            (metrics.ROWS_RECOMPUTED, traffic.lost, {}),
            (metrics.SEGMENTS_WRITTEN, traffic.segments, {}),
            (metrics.TABLES_SEALED, traffic.tables, {}),
            (metrics.FAILURES, self._pool.losses, infra),
        ]
        for metric, total, tags in counts:
            record(metric, total - self._recorded.get(metric, 0), self._tags | tags)
            self._recorded[metric] = total


class WaitShare:
    """The share of its steps that a student's worker spends waiting for soft targets, reported every `EVERY_S`."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._begun, self._waited_before = 0.0, 0.0
        self._seconds, self._waited = 0.0, 0.0
        self._next = clock()

    def begin(self, waited_s: float) -> float:
        """A step begins; returns the clock's time, in seconds.

        Args:
            waited_s: what the worker has waited in its training so far.
        """
        self._begun, self._waited_before = self._clock(), waited_s
        return self._begun

    def end(self, waited_s: float) -> None:
        """The step ends; `waited_s` as for `begin`."""
        now = self._clock()
        self._seconds += now - self._begun
        self._waited += waited_s - self._waited_before
        if now >= self._next and self._seconds > 0:
            record(metrics.STUDENT_WAIT_SHARE, self._waited / self._seconds)
            self._seconds, self._waited, self._next = 0.0, 0.0, now + EVERY_S


@functools.cache
def _of_ray(metric: MetricSpec) -> ray_metrics.Metric:
    """Ray's object, one for each process."""
    match metric.kind:
        case "counter":
            return ray_metrics.Counter(metric.name, metric.description, metric.tags)
        case "gauge":
            return ray_metrics.Gauge(metric.name, metric.description, metric.tags)
        case "histogram":
            return ray_metrics.Histogram(metric.name, metric.description, list(metric.boundaries), metric.tags)


def _is_restarted_actor() -> bool:
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and bool(context.was_current_actor_reconstructed)

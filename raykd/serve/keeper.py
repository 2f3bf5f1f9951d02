"""The actor that keeps a served ensemble: its teachers' services up, their replicas as many as were asked for.

docs/serving.md. It computes nothing and no request goes through it. Where it dies Ray restarts it; meanwhile the
services live on until their leases end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError

from raykd.config.ensemble import EnsembleRecord, ServedTeacher, read_record, record_path
from raykd.ray_errors import first_line
from raykd.serve.autoscale import Autoscaler, Load
from raykd.teachers.serving.recording import record_scaling, record_teacher_failure
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec

log = logging.getLogger(__name__)
TICK_S = 1.0
ANSWER_S = 10.0
"""A service that does not answer for so long is shown as unreachable; it is asked again."""
DECISIONS = 100
"""So many changes of the number of replicas are remembered."""
LONGEST_PAUSE_S = 60.0
"""Between two starts of a service whose teacher fails again and again."""


@dataclass
class _Kept:
    """A teacher's service as the keeper last saw it.

    Attributes:
        scaler: how many replicas it should have.
        status: of the service; None before its first answer.
        unreachable: why it does not answer; None while it does.
        failures: how often the teacher has failed and was started again.
        last_failure: the reason of the last of them.
        not_before: on the keeper's clock, when it may be started again.
    """

    spec: TeacherServiceSpec
    scaler: Autoscaler
    status: dict[str, Any] | None = None
    unreachable: str | None = None
    failures: int = 0
    last_failure: str | None = None
    not_before: float = 0.0


class EnsembleKeeper:
    """Renews the leases of the services every second, and tells them how many replicas they should have.

    Args:
        cache: the folder that has the ensemble's record, from which it knows the numbers of replicas after a restart.
        specs: the services, in the order of the ensemble's teachers.
    """

    def __init__(self, name: str, cache: str, specs: Sequence[TeacherServiceSpec]) -> None:
        self._name, self._cache = name, Path(cache)
        self._record = read_record(self._cache, name)
        self._kept = {
            spec.teacher.name: _Kept(spec, Autoscaler(*_bounds(self._record.teacher(spec.teacher.name))))
            for spec in specs
        }
        self._decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS)
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._born = time.monotonic()
        self._used: float | None = None  # its idle time does not begin before somebody can use it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def specs(self) -> list[TeacherServiceSpec]:
        """The services, for clients that know the ensemble's name alone."""
        return [kept.spec for kept in self._kept.values()]

    def record(self) -> EnsembleRecord:
        """What was served, with the present numbers of replicas."""
        return self._record

    def opened(self) -> None:
        """Every teacher has answered: from now on the ensemble may be idle."""
        self._used = time.monotonic()

    def scale(self, replicas: dict[str, int]) -> None:
        """Other numbers of replicas by teacher, or of the least where there is a largest; surplus ones finish first.

        Raises:
            ConfigError: the ensemble has no such teacher; nothing is changed.
        """
        with self._lock:
            chosen = [(self._record.teacher(name), number) for name, number in replicas.items()]
            for served, number in chosen:
                served.replicas = number
                if served.max_replicas is not None:
                    served.max_replicas = max(served.max_replicas, number)
                self._kept[served.name].scaler.bound(*_bounds(served))
            self._record.write(self._cache)

    def status(self) -> dict[str, Any]:
        """The ensemble and each teacher's service as they are now; see `TeacherService.status`."""
        self._hold_all()
        with self._lock:
            return {
                "name": self._name,
                "task": self._record.task,
                "labels": self._record.labels,
                "cache": str(self._cache),
                "up_s": time.monotonic() - self._born,
                "idle_timeout_s": self._record.idle_timeout_s,
                "decisions": list(self._decisions),
                "teachers": {
                    served.name: {
                        "wanted": self._kept[served.name].scaler.wanted,
                        "least": served.replicas,
                        "most": served.max_replicas,
                        "failures": self._kept[served.name].failures,
                        "last_failure": self._kept[served.name].last_failure,
                        "unreachable": self._kept[served.name].unreachable,
                        "service": self._kept[served.name].status,
                    }
                    for served in self._record.teachers
                },
            }

    def close(self, force: bool = False) -> dict[str, list[str]]:
        """Lets the services go and deletes the record; the caller ends this actor.

        Args:
            force: end services that runs still use; else they end with the last of these.

        Returns:
            The runs that still use a teacher, by its name.
        """
        self._ended.set()
        self._thread.join()
        using: dict[str, list[str]] = {}
        for name, kept in self._kept.items():
            try:
                service = connect(kept.spec)
                ray.get(service.release.remote(self._holder), timeout=ANSWER_S)
                status = cast(dict[str, Any], ray.get(service.status.remote(), timeout=ANSWER_S))
                if status["runs"]:
                    using[name] = status["runs"]
                if force or not status["runs"]:
                    ray.get(service.close.remote(), timeout=ANSWER_S)
                    ray.kill(service)
            except RayError as error:
                log.warning("teacher %s: its service does not answer: %s", name, first_line(error))
        record_path(self._cache, self._name).unlink(missing_ok=True)
        return using

    @property
    def _holder(self) -> str:
        return f"ensemble {self._name}"

    def _keep(self) -> None:
        while not self._ended.wait(TICK_S):
            try:
                self._hold_all()
                self._end_idle()
            except Exception:  # nothing else would see it
                log.exception("the keeper of ensemble %s goes on", self._name)

    def _hold_all(self) -> None:
        with self._looking:
            for kept in self._kept.values():
                self._hold(kept)
                self._scale(kept)

    def _scale(self, kept: _Kept) -> None:
        """Another number of replicas, at the next look, where the load has asked for it for some time."""
        if kept.status is None or kept.unreachable is not None:
            return
        before, scaler = kept.scaler.wanted, kept.scaler
        if scaler.decide(_load(kept.status)) != before:
            decision = {"teacher": kept.spec.teacher.name, "from": before, "to": scaler.wanted, "reason": scaler.reason}
            record_scaling(kept.spec, scaler.wanted - before)
            self._decisions.append({"time": time.time(), **decision})
            log.warning("teacher %(teacher)s: %(from)d to %(to)d replicas: %(reason)s", decision)

    def _hold(self, kept: _Kept) -> None:
        """One look at one service: its lease, its size, its failure."""
        if time.monotonic() < kept.not_before:
            return
        try:
            service = connect(kept.spec)
            status = cast(
                dict[str, Any], ray.get(service.hold.remote(self._holder, kept.scaler.wanted), timeout=ANSWER_S)
            )
        except RayError as error:
            kept.unreachable = first_line(error)
            return
        kept.status, kept.unreachable = status, None
        if status["runs"]:
            self._used = time.monotonic()
        if status["failure"] is not None:
            self._start_again(kept, status["failure"])

    def _start_again(self, kept: _Kept, failure: str) -> None:
        """A teacher that has failed answers nobody any more: the next tick starts it anew, a little later each time."""
        kept.failures, kept.last_failure = kept.failures + 1, failure
        record_teacher_failure(kept.spec)
        log.warning("teacher %s has failed and is started again: %s", kept.spec.teacher.name, failure)
        kept.not_before = time.monotonic() + min(2.0**kept.failures, LONGEST_PAUSE_S)
        ray.kill(connect(kept.spec))

    def _end_idle(self) -> None:
        limit = self._record.idle_timeout_s
        if limit is not None and self._used is not None and time.monotonic() - self._used > limit:
            log.warning("ensemble %s ends: nobody has used it for %g s", self._name, limit)
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self.close()
        ray.kill(ray.get_runtime_context().current_actor)


def _bounds(served: ServedTeacher) -> tuple[int, int]:
    """The least and the most replicas of a teacher."""
    return served.replicas, served.max_replicas or served.replicas


def _load(status: dict[str, Any]) -> Load:
    """What a service's status says of its load.

    Rows that are missing while no client asks are those of a run that waits for its whole pass.
    """
    rows, ready = status["rows"], sum(each["state"] in ("working", "idle") for each in status["replicas"])
    waiting = 1.0 if rows["wait_share"] is None and status["queue"] else rows["wait_share"]
    return Load(waiting, rows["busy"] / max(1, ready), status["queue"], ready)

"""One actor per teacher: packs the rows that are wanted into calls, routes them to its replicas, knows who uses it.

docs/design.md, section "The service".

Its methods never wait for a replica: `route` says what is known, which calls are under way and what must be asked for
again. A thread beside them collects answers, fills announced rows, writes segments and replaces dead replicas. The
actor's own death loses at most the rows not yet in a segment: it restarts from the files and its clients ask again.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from raykd.data.splits import Split, TextSplit
from raykd.errors import TeacherError
from raykd.ray_errors import last_line
from raykd.teachers.serving.corpus_targets import CorpusTargets
from raykd.teachers.serving.recording import ServiceRecorder
from raykd.teachers.serving.replica_pool import ReplicaPool
from raykd.teachers.serving.reply import Reply
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.usage import Leases, Traffic

log = logging.getLogger(__name__)
MAX_ATTEMPTS = 3
IDLE_S = 0.2
"""Between two looks at leases while there is nothing to do."""
IN_FLIGHT = 2
"""Calls per replica: one that it works on, one that waits so that it never idles."""


class TeacherService:
    """The actor of one teacher: students register a corpus, announce the rows that they will need and ask for them.

    Methods that raise TeacherError do so once the teacher has failed; it does not recover.
    """

    def __init__(self, spec: TeacherServiceSpec) -> None:
        self.spec = spec
        self._lock = threading.RLock()
        self._corpora: dict[str, CorpusTargets] = {}
        self._pool = ReplicaPool(spec.replica, spec.teacher, spec.actor_resources, spec.replicas, IN_FLIGHT)
        self._calls: dict[int, tuple[CorpusTargets, np.ndarray]] = {}
        self._next_call = 0
        self._failure: TeacherError | None = None
        self._leases, self._traffic = Leases(spec.lease_s), Traffic()
        self._recorder = ServiceRecorder(spec, self._traffic, self._pool)
        self._holder = ""
        self._closed = False
        self._work = threading.Event()
        threading.Thread(target=self._pump, daemon=True).start()

    def register(self, split: Split, run: str) -> bool:
        """Makes a corpus known; true when its sealed table exists already."""
        with self._lock:
            self._leases.renew(run)
            if split.texts not in self._corpora:
                spec = self.spec
                entry = CorpusTargets(spec.teacher, split, Path(spec.cache), self._traffic, spec.keep_bytes)
                self._corpora[split.texts] = entry
            self._corpora[split.texts].users.add(run)
            return self._corpora[split.texts].sealed

    def announce(self, corpus: str, run: str, ids: np.ndarray) -> None:
        """A run will want these rows, in this order; replicas fill them when nobody waits for others."""
        with self._lock:
            self._leases.renew(run)
            self._corpora[corpus].announce(run, ids)
            self._work.set()
            self._dispatch()

    def route(self, corpus: str, run: str, ids: np.ndarray, waited_s: float = 0.0, of_s: float = 0.0) -> Reply:
        """What is known of these rows, and calls for the rest; see `Reply`.

        Args:
            waited_s: seconds that the client has waited for this teacher since it last asked.
            of_s: seconds since then.

        Raises:
            TeacherError: this teacher cannot answer.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._leases.renew(run)
            self._traffic.waited(waited_s, of_s)
            teacher, entry = self.spec.teacher, self._corpora.get(corpus)
            stamp = (teacher.identity, teacher.version, corpus)
            if entry is None:
                return Reply(*stamp, registered=False)
            if entry.sealed:
                return Reply(*stamp, sealed=True)
            ledger = entry.ledger
            self._traffic.known += int(ledger.known[ids].sum())
            ledger.want(run, ids)
            self._dispatch()
            known = ids[ledger.known[ids]]
            under_way = ledger.call[ids]
            calls = {int(call): self._pool.ref(int(call)) for call in np.unique(under_way[under_way >= 0])}
            deferred = ids[~ledger.known[ids] & (under_way < 0)]
            self._traffic.asked += len(ids) - len(deferred)  # those are asked for again
            return Reply(*stamp, known=known, values=ledger.values[known], calls=calls, deferred=deferred)

    def progress(self, run: str) -> dict[str, Any]:
        """Counters for the display and the result; also renews the run's lease.

        Raises:
            TeacherError: this teacher cannot answer.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._leases.renew(run)
            return {
                "corpora": {texts: entry.progress(run) for texts, entry in self._corpora.items()},
                "forwards": self._traffic.forwards,
                "seconds": self._traffic.seconds,
                "answers": self._traffic.answers,
                "replicas": self._pool.describe(),
                "pid": os.getpid(),
            }

    def status(self) -> dict[str, Any]:
        """Replicas by state, queue, users, rows and stores, of a teacher that has failed too; renews no lease."""
        with self._lock:
            corpora = [entry.state() for entry in self._corpora.values()]
            return {
                "teacher": self.spec.teacher.name,
                "version": self.spec.teacher.version,
                "identity": self.spec.teacher.identity,
                "failure": None if self._failure is None else self._failure.what,
                "size": self._pool.size,
                "replicas": self._pool.states(),
                "queue": sum(corpus["missing"] for corpus in corpora),
                "in_flight": sum(len(ids) for _, ids in self._calls.values()),
                "oldest_s": self._pool.oldest_s(),
                "runs": [run for run in self._leases.runs() if run != self._holder],
                "rows": self._traffic.as_dict(),
                "corpora": corpora,
                "pid": os.getpid(),
            }

    def scale(self, replicas: int) -> None:
        """Adds replicas, or lets some finish their calls and go."""
        with self._lock:
            self._pool.resize(replicas)
            self._dispatch()

    def hold(self, holder: str, replicas: int) -> dict[str, Any]:
        """Keeps so many replicas ready while the holder's lease lasts, work or not; returns `status`."""
        with self._lock:
            self._holder = holder
            self._leases.renew(holder)
            if replicas != self._pool.size:
                self.scale(replicas)
            if self._failure is None and not self._closed:
                self._pool.fill()
            return self.status()

    def release(self, run: str) -> None:
        """A run needs this service no longer."""
        with self._lock:
            self._leases.release(run)

    def forget(self, corpus: str) -> None:
        """Drops texts that are in no file of the cache: whoever asked has its answers."""
        with self._lock:
            entry = self._corpora.get(corpus)
            if entry is not None and isinstance(entry.split, TextSplit):
                del self._corpora[corpus]

    def close(self) -> None:
        """Writes what is not yet on disk and ends the replicas."""
        with self._lock:
            self._closed = True
            for entry in self._corpora.values():
                entry.write()
            self._pool.close()

    def _dispatch(self) -> None:
        """Gives packs to free replicas; called with the lock held whenever there may be new work or room."""
        if self._closed or self._failure is not None:
            return
        for entry in self._corpora.values():
            while self._pool.has_room(entry.has_work):
                ids = entry.ledger.next_pack(self.spec.batch_tokens, self.spec.teacher.max_length)
                if ids is None:
                    break
                call, self._next_call = self._next_call, self._next_call + 1
                entry.ledger.start(call, ids)
                self._calls[call] = (entry, ids)
                self._pool.send(call, entry.split, ids)
                self._work.set()

    def _pump(self) -> None:
        while not self._closed:
            try:
                with self._lock:
                    self._dispatch()
                    if self.spec.call_timeout_s is not None:
                        self._pool.end_hung(self.spec.call_timeout_s)
                    refs = self._pool.refs()
                if refs:
                    ready, _ = ray.wait(list(refs), num_returns=1, timeout=0.1)
                    for ref in ready:
                        self._collect(refs[ref])
                else:
                    # With nothing under way it leaves the cores to the students.
                    self._work.wait(IDLE_S)
                self._work.clear()
                with self._lock:
                    self._store_and_release()
                    self._recorder.report(len(self._calls), self._failure is not None, self._corpora.values())
            except Exception as error:  # nothing else would see it: the thread must say why it ends
                log.exception("the service of teacher %s fails", self.spec.teacher.name)
                self._fail(f"its service failed: {error}")

    def _collect(self, call: int) -> None:
        try:
            answer = ray.get(self._pool.ref(call))
        except RayTaskError as error:
            cause = error.cause
            self._fail(cause.what if isinstance(cause, TeacherError) else f"{type(cause).__name__}: {cause}")
            return
        except RayError as error:
            self._lost(call, error)
            return
        with self._lock:
            entry, ids = self._calls.pop(call)
            self._pool.done(call)
            entry.ledger.finish(ids, answer.values)
            self._traffic.answered(len(ids), answer.seconds)
            self._traffic.recoveries.answered(entry.split.texts, ids)
            self._dispatch()

    def _lost(self, call: int, error: RayError) -> None:
        """A call will have no answer: its rows go to another, unless they have ended several replicas already."""
        with self._lock:
            entry, ids = self._calls.pop(call)
            self._traffic.lost += len(ids)
            self._traffic.recoveries.lost(entry.split.texts, ids)
            if isinstance(error, ActorUnavailableError) and self._pool.unanswered(call):
                log.warning("teacher %s: a call was lost on its way: %s", self.spec.teacher.name, last_line(error))
                entry.ledger.fail(ids, by_replica=False)
                self._dispatch()
                return
            loss = self._pool.lost(call)
            entry.ledger.fail(ids, by_replica=loss.blamed)
            why = f"no answer in {self.spec.call_timeout_s:g} s (call_timeout_s)" if loss.hung else last_line(error)
            log.warning("teacher %s lost a replica: %s", self.spec.teacher.name, why)
            if loss.blamed and int(entry.ledger.attempts[ids].max()) >= MAX_ATTEMPTS:
                unborn = isinstance(error, RayActorError) and not self._traffic.answers and not loss.hung
                kind = "could not start" if unborn else "died"
                self._fail(f"its replicas {kind} {MAX_ATTEMPTS} times: {why}")
            self._dispatch()

    def _fail(self, what: str) -> None:
        with self._lock:
            mend = "mend the cause and start again, finished rows are kept"
            self._failure = self._failure or TeacherError(f"teacher {self.spec.teacher.name}", what, mend)
            for entry in self._corpora.values():
                entry.write()
            self._pool.close()
            self._calls.clear()

    def _store_and_release(self) -> None:
        """Stores what is due, ends idle replicas, and the service itself where its leases are over."""
        for entry in self._corpora.values():
            entry.store()
        held = bool(self._holder) and self._leases.has(self._holder)
        if not held and not self._calls and all(entry.done for entry in self._corpora.values()):
            self._pool.rest()
        if self.spec.lease_s is not None:
            self._forget_unused()
        if self._leases.over:
            self.close()
            ray.kill(ray.get_runtime_context().current_actor)

    def _forget_unused(self) -> None:
        """Drops corpora that nobody has a lease on: a service may live for weeks, and finds them on disk again."""
        under_way = {id(entry) for entry, _ in self._calls.values()}
        for texts, entry in list(self._corpora.items()):
            if id(entry) not in under_way and not any(map(self._leases.has, entry.users)):
                entry.write()
                del self._corpora[texts]

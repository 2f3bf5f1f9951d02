"""The student's end: asks ahead of time, takes rows from the sealed table or the service, checks their provenance."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from raykd.data.splits import Split
from raykd.errors import StoreError, TeacherError
from raykd.ray_errors import cause_of, last_line
from raykd.teachers.serving.replica import Answer, Provenance
from raykd.teachers.serving.reply import Reply
from raykd.teachers.serving.service_actor import find
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.store import Table
from raykd.teachers.serving.values import RaggedRows, Values
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
PATIENCE_S = 600.0
"""A teacher that answers nothing for so long ends the run instead of hanging it."""
RESTART_S = 20.0
"""A service that Ray calls dead may be on its way back; after so long it is not."""
POLL_S = 0.05


@dataclass(frozen=True)
class TargetSource:
    """Where one teacher's soft targets for one corpus come from; picklable.

    Attributes:
        wanted: ids that this run will ask for, in order.
        service: None where the sealed table holds them all.
    """

    teacher: TeacherModel
    split: Split
    cache: str
    run: str
    wanted: np.ndarray
    service: TeacherServiceSpec | None


def register(source: TargetSource) -> ActorHandle:
    """The source's service, knowing this run's corpus and the rows that it will want; waits while it restarts.

    Raises:
        TeacherError: the service cannot be reached.
    """
    assert source.service is not None
    begun = time.monotonic()
    while True:
        try:
            service = find(source.service)
            ray.get(service.register.remote(source.split, source.run))
            ray.get(service.announce.remote(source.split.texts, source.run, source.wanted))
            return service
        except RayTaskError as error:
            raise cause_of(error) from None
        except (RayError, ValueError) as error:  # ValueError: there is no actor of that name
            gone = isinstance(error, (ActorDiedError, ValueError))
            if time.monotonic() - begun > (RESTART_S if gone else PATIENCE_S):
                what = f"its service cannot be reached: {last_line(error)}"
                raise TeacherError(f"teacher {source.teacher.name}", what) from None
            time.sleep(0.2)


class TeacherClient:
    """One teacher's logits for one corpus, as one student worker sees them.

    In-flight rows are bounded: only batches that were announced by `prefetch` are asked for ahead of time.
    """

    def __init__(self, source: TargetSource) -> None:
        self.source = source
        teacher = source.teacher
        self._store = teacher.store(Path(source.cache), source.split.texts)
        self._table: Table | None = None
        self._known = np.zeros(source.split.rows, bool)
        self._values = teacher.empty_rows(0)
        self._asked = np.zeros(source.split.rows, bool)
        self._replies: dict[ray.ObjectRef, np.ndarray] = {}
        self._calls: dict[ray.ObjectRef, np.ndarray] = {}
        self._service: ActorHandle | None = None
        self._waited_s, self._asked_at = 0.0, time.monotonic()
        if source.service is None:
            self._open_table()
        else:
            self._values = teacher.empty_rows(source.split.rows)
            self._register()

    def prefetch(self, batches: Sequence[np.ndarray]) -> None:
        """Asks for the rows of the next batches, without waiting."""
        if self._table is None:
            self._drain(0.0)
            for ids in batches:
                self._ask(ids)

    def available(self, ids: np.ndarray) -> int:
        """How many of these rows need no waiting."""
        return len(ids) if self._table is not None else int(self._known[ids].sum())

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [len(ids), C], waiting for them where they are not there yet; errors as for `get_values`."""
        values = self.get_values(ids)
        assert isinstance(values, np.ndarray)
        return values

    def get_values(self, ids: np.ndarray) -> Values:
        """What the teacher answers for these rows, waiting for it where it is not there yet.

        Raises:
            TeacherError: the teacher cannot answer, answers nothing for long, or answered as another one.
            StoreError: the sealed table lacks rows of this run.
        """
        deadline, pause = time.monotonic() + PATIENCE_S, POLL_S / 10
        while self._table is None and not self._known[ids].all():
            before, begun = self._known.sum(), time.monotonic()
            self._ask(ids)
            self._drain(pause if not (self._replies or self._calls) else 1.0)
            if self._known.sum() > before:
                deadline, pause = time.monotonic() + PATIENCE_S, POLL_S / 10
            elif not (self._replies or self._calls):
                pause = min(2 * pause, POLL_S)  # every replica is busy with others: ask again a little later
                time.sleep(pause)
            if time.monotonic() > deadline:
                what = f"answered nothing for {PATIENCE_S:.0f} s"
                raise TeacherError(f"teacher {self.source.teacher.name}", what, "are its resources available?")
            self._waited_s += time.monotonic() - begun
        if self._table is not None:
            return self._table.take(ids)
        values = self._values[ids]
        if self._unstored:
            # They are asked for again in the next epoch: all of them would fill this process's memory.
            assert isinstance(self._values, RaggedRows)
            self._values.drop(ids.tolist())
            self._known[ids] = self._asked[ids] = False
        return values

    def close(self) -> None:
        """Forgets what is under way."""
        self._replies.clear()
        self._calls.clear()

    @property
    def _unstored(self) -> bool:
        """Whether the service stores nothing, so that rows are computed whenever they are asked for."""
        return self.source.service is not None and self.source.service.keep_bytes is not None

    def _open_table(self) -> None:
        table = self._store.sealed()
        if table is None or not table.covers(self.source.wanted).all():
            what = f"the sealed soft targets of teacher {self.source.teacher.name} lack rows of this run"
            raise StoreError(str(self._store.folder), what, "start the run again, the missing ones are computed")
        self._table = table
        self.close()

    def _register(self) -> None:
        self._service = register(self.source)

    def _ask(self, ids: np.ndarray) -> None:
        ids = ids[~self._known[ids] & ~self._asked[ids]]
        if len(ids) and self._service is not None:
            self._asked[ids] = True
            now, waited_s = time.monotonic(), self._waited_s
            ref: ray.ObjectRef = self._service.route.remote(
                self.source.split.texts, self.source.run, ids, waited_s, now - self._asked_at
            )
            self._waited_s, self._asked_at = 0.0, now
            self._replies[ref] = ids

    def _drain(self, timeout: float) -> None:
        """Takes in what has come, waiting at most `timeout` for the first of it."""
        waiting = [*self._replies, *self._calls]
        while waiting and self._table is None:
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=timeout)
            if not ready:
                return
            timeout = 0.0
            for ref in ready:
                if ref in self._replies:
                    self._take_reply(ref)
                elif ref in self._calls:
                    self._take_answer(ref)

    def _take_reply(self, ref: ray.ObjectRef) -> None:
        ids = self._replies.pop(ref)
        try:
            reply: Reply = ray.get(ref)
        except RayTaskError as error:
            raise cause_of(error) from None
        except RayError:
            self._asked[ids] = False
            self._register()
            return
        if not reply.registered:
            self._asked[ids] = False
            self._register()
            return
        self._check(reply)
        if reply.sealed:
            self._open_table()
            return
        if reply.values is not None:
            self._store_rows(reply.known, reply.values)
        self._asked[reply.deferred] = False
        under_way = np.setdiff1d(ids, np.concatenate([reply.known, reply.deferred]))
        for call in reply.calls.values():
            # Rows of an earlier question may be in the same call.
            self._calls[call] = np.union1d(self._calls.get(call, under_way), under_way)

    def _take_answer(self, ref: ray.ObjectRef) -> None:
        requested = self._calls.pop(ref)
        try:
            answer: Answer = ray.get(ref)
        except RayTaskError as error:
            raise cause_of(error) from None
        except RayError:
            # The replica or the service died with this call: what it leaves open is asked for again.
            self._asked[requested[~self._known[requested]]] = False
            return
        self._check(answer)
        self._store_rows(answer.ids, answer.values)

    def _store_rows(self, ids: np.ndarray, values: Values) -> None:
        fresh, rows = ~self._known[ids], cast(Any, self._values)  # an array takes arrays, ragged rows take ragged ones
        if self._unstored:
            fresh &= self._asked[ids]  # rows of other students in the same answer would stay here for good
        rows[ids[fresh]] = values[fresh]
        self._known[ids[fresh]] = True

    def _check(self, answer: Provenance) -> None:
        teacher = self.source.teacher
        answer.check(teacher, teacher.version, self.source.split.texts)


class Ensemble:
    """K teachers as one source of targets."""

    def __init__(self, sources: Sequence[TargetSource]) -> None:
        self.clients = [TeacherClient(source) for source in sources]

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Asks every teacher for the rows of the next batches."""
        for client in self.clients:
            client.prefetch(batches)

    def available(self, ids: np.ndarray) -> int:
        """Rows times teachers that need no waiting."""
        return sum(client.available(ids) for client in self.clients)

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C], waiting for them where they are missing; errors as for `TeacherClient.get`."""
        return np.stack([client.get(ids) for client in self.clients])

    def close(self) -> None:
        """Forgets what is under way."""
        for client in self.clients:
            client.close()

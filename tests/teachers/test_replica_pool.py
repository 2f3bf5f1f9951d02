"""The replicas of one service: which is ready, which hangs, and what is made of answers that do not arrive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
import ray
from stand_ins import SEAT, ids_of

from raykd.data.corpus import Corpus
from raykd.teachers.serving.replica import ModelReplica
from raykd.teachers.serving.replica_pool import MOST_UNANSWERED, Loss, ReplicaPool
from raykd.teachers.teacher_model import TeacherModel

pytestmark = pytest.mark.usefixtures("ray_local")


def test_an_answer_that_was_not_yet_fetched_is_no_hanging(teacher: TeacherModel, corpus: Corpus) -> None:
    """The service may be late, by a write to a slow disk: its replicas are not ended for that."""
    with loaded_pool(teacher) as pool:
        pool.send(0, corpus.splits["train"], ids_of(corpus)[:8])
        answered, _ = ray.wait([pool.ref(0)], timeout=60)
        assert answered
        time.sleep(0.3)
        pool.end_hung(0.1)
        pool.done(0)
        pool.send(1, corpus.splits["train"], ids_of(corpus)[:8])
        assert len(ray.get(pool.ref(1), timeout=60).ids) == 8


def test_a_replica_leaves_when_several_answers_in_a_row_do_not_arrive(teacher: TeacherModel, corpus: Corpus) -> None:
    """What Ray tells of a broken connection: the call may have run, and the replica may live."""
    with loaded_pool(teacher) as pool:

        def sent(call: int) -> int:
            assert wait_for_room(pool)
            pool.send(call, corpus.splits["train"], ids_of(corpus)[:8])
            ray.get(pool.ref(call), timeout=60)
            return call

        assert all(pool.unanswered(sent(k)) for k in range(MOST_UNANSWERED))
        pool.done(sent(10))
        assert all(pool.unanswered(sent(k)) for k in range(MOST_UNANSWERED))
        assert (pool.losses, pool.describe()) == (0, [0])
        assert pool.unanswered(sent(20))
        assert (pool.losses, pool.describe()) == (1, [])


def test_the_call_that_a_replica_died_of_is_blamed_and_not_the_next(teacher: TeacherModel, corpus: Corpus) -> None:
    with loaded_pool(teacher) as pool:
        for call in range(2):
            pool.send(call, corpus.splits["train"], ids_of(corpus)[8 * call : 8 * call + 8])
        assert pool.lost(1) == Loss(hung=False, blamed=False)  # whichever is found first
        assert pool.lost(0) == Loss(hung=False, blamed=True)
        assert (pool.losses, pool.describe()) == (1, [])


@contextlib.contextmanager
def loaded_pool(teacher: TeacherModel) -> Iterator[ReplicaPool]:
    """A pool whose one replica is ready."""
    pool = ReplicaPool(ModelReplica, teacher, SEAT, size=1, in_flight=2)
    try:
        assert wait_for_room(pool)
        yield pool
    finally:
        pool.close()


def wait_for_room(pool: ReplicaPool, seconds: float = 60) -> bool:
    """Until a replica is ready; whether that was in time."""
    deadline = time.monotonic() + seconds
    while not pool.has_room(work=True) and time.monotonic() < deadline:
        time.sleep(0.05)
    return pool.has_room(work=True)

"""A service's replicas: started when there is work, given the freest one's share, replaced when they die."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, RayError

from raykd.data.splits import Split
from raykd.teachers.serving.replica import ActorResources, Replica
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
MOST_UNANSWERED = 3
"""Requests or answers in a row that are lost on the way to or from a replica, before another takes its place."""


@dataclass
class _Member:
    """A replica.

    Attributes:
        health: the answer to a call of `health`: there when it has a place and its model is loaded.
        ready: whether that is known; one that could not start is ready too, and its first call says why.
        since: when it began on the oldest of its calls, which it answers one after the other.
        hung: it was ended for want of an answer.
        lost: a call of it is known to be lost.
        died_of: the oldest of its calls when it was known to be dead, which it worked on.
        unanswered: how many requests or answers were lost on the way since its last answer.
    """

    actor: ActorHandle
    health: ray.ObjectRef
    ready: bool = False
    calls: set[int] = field(default_factory=set)
    leaving: bool = False
    since: float = 0.0
    hung: bool = False
    lost: bool = False
    died_of: int | None = None
    unanswered: int = 0


@dataclass(frozen=True)
class Loss:
    """A call that was lost with its replica.

    Attributes:
        hung: the replica was ended for want of an answer.
        blamed: the replica worked on this call when it died; what waited behind it has no part in that.
    """

    hung: bool
    blamed: bool


class ReplicaPool:
    """The replicas of one teacher. Not thread-safe: its service holds a lock around it.

    Attributes:
        size: how many there are to be.
        losses: replicas that died or hung with calls under way.
    """

    def __init__(
        self, replica: type[Replica], teacher: TeacherModel, actor_resources: ActorResources, size: int, in_flight: int
    ) -> None:
        self._class, self._teacher, self._resources = replica, teacher, actor_resources
        self.size, self.losses, self._in_flight = size, 0, in_flight
        self._members: list[_Member] = []
        self._calls: dict[int, tuple[_Member, ray.ObjectRef]] = {}

    def has_room(self, work: bool) -> bool:
        """Whether a call can be sent; replicas are started where there is work for them.

        Only replicas that are ready get calls: one that finds no place in the cluster, as after a node was lost, would
        keep its rows from the others.
        """
        if work:
            self.fill()
        return any(len(member.calls) < self._in_flight for member in self._ready())

    def fill(self) -> None:
        """Starts the replicas that are missing."""
        while sum(not member.leaving for member in self._members) < self.size:
            self._members.append(self._start())

    def send(self, call: int, split: Split, ids: np.ndarray) -> None:
        """Sends a call to the replica with the fewest under way."""
        member = min(self._ready(), key=lambda m: len(m.calls))
        if not member.calls:
            member.since = time.monotonic()
        member.calls.add(call)
        self._calls[call] = (member, member.actor.infer.remote(split, ids))

    def ref(self, call: int) -> ray.ObjectRef:
        """Where a call's answer will be."""
        return self._calls[call][1]

    def refs(self) -> dict[ray.ObjectRef, int]:
        """The numbers of all calls under way, by their reference."""
        return {ref: call for call, (_, ref) in self._calls.items()}

    def done(self, call: int) -> None:
        """A call has answered: its replica has room for another."""
        member, _ = self._calls.pop(call)
        member.calls.discard(call)
        member.since, member.unanswered = time.monotonic(), 0
        if member.leaving and not member.calls:
            self._end(member)

    def unanswered(self, call: int) -> bool:
        """A call's request or answer was lost on the way. Its replica has to answer `health` before it gets another.

        Returns:
            False where the replica is one that leaves: the call is to be given to `lost`.
        """
        member, _ = self._calls[call]
        if member.leaving:
            return False
        del self._calls[call]
        member.calls.discard(call)
        self._ask_again(member)
        return True

    def lost(self, call: int) -> Loss:
        """A call's replica is dead: another is started in its place when there is work."""
        member, _ = self._calls.pop(call)
        if not member.lost:
            member.died_of = min(member.calls)
        member.calls.discard(call)
        self._lose(member)
        return Loss(member.hung, blamed=call == member.died_of)

    def end_hung(self, timeout_s: float) -> None:
        """Ends replicas that have worked on one call for longer; their calls are lost then.

        One that waits for a place in the cluster or still loads its model does not hang, nor does one whose answer is
        there and was not yet fetched.
        """
        now = time.monotonic()
        self._look_at_all()
        for member in self._members:
            late = member.ready and not member.hung and member.calls and now - member.since > timeout_s
            if late and not ray.wait([self.ref(call) for call in member.calls], timeout=0)[0]:
                member.leaving = member.hung = True  # it stays until its calls are known to be lost
                ray.kill(member.actor)

    def resize(self, size: int) -> None:
        """Sets the number of replicas; surplus ones finish their calls first."""
        self.size = size
        # Those that still start go first: the others have work in them.
        staying = sorted((m for m in self._members if not m.leaving), key=lambda m: not m.ready)
        for member in staying[size:]:
            member.leaving = True
            if not member.calls:
                self._end(member)

    def rest(self) -> None:
        """Ends all replicas while there is nothing to do; work starts them again."""
        for member in list(self._members):
            self._end(member)

    def close(self) -> None:
        """Ends all replicas and forgets their calls."""
        self.rest()
        self._calls.clear()

    def describe(self) -> list[int]:
        """Calls under way of each replica."""
        return [len(member.calls) for member in self._members]

    def states(self) -> list[dict[str, Any]]:
        """Of each replica: starting, working, idle or leaving, and its calls under way."""
        self._look_at_all()
        return [{"state": _state(member), "calls": len(member.calls)} for member in self._members]

    def oldest_s(self) -> float:
        """For how long the longest call is being worked on, in seconds; 0 without any."""
        working = [member.since for member in self._members if member.ready and member.calls]
        return time.monotonic() - min(working) if working else 0.0

    def _ready(self) -> list[_Member]:
        """Those that can be given a call."""
        self._look_at_all()
        return [member for member in self._members if member.ready and not member.leaving]

    def _look_at_all(self) -> None:
        for member in list(self._members):  # one that is given up leaves them
            self._look(member)

    def _look(self, member: _Member) -> None:
        if member.ready or member.leaving or not ray.wait([member.health], timeout=0)[0]:
            return
        try:
            ray.get(member.health)
        except ActorUnavailableError:
            self._ask_again(member)
            return
        except RayError:
            if member.unanswered:  # it has worked before
                self._lose(member)
                return
        member.ready, member.since = True, time.monotonic()

    def _ask_again(self, member: _Member) -> None:
        """Whether a replica is there, after something was lost on the way; it is given up after some such losses."""
        member.unanswered += 1
        member.ready = False
        if member.unanswered > MOST_UNANSWERED:
            self._lose(member)
        else:
            member.health = member.actor.health.remote()

    def _lose(self, member: _Member) -> None:
        self.losses += not member.lost
        member.leaving = member.lost = True
        if member.calls:
            ray.kill(member.actor)  # they fail one by one
        else:
            self._end(member)

    def _start(self) -> _Member:
        options: dict[str, Any] = {**self._resources.options, "concurrency_groups": {"health": 1}}
        actor: Any = ray.remote(**options)(self._class)
        handle = actor.remote(self._teacher, self._resources)
        return _Member(handle, handle.health.remote())

    def _end(self, member: _Member) -> None:
        self._members.remove(member)
        ray.kill(member.actor)


def _state(member: _Member) -> str:
    if member.leaving:
        return "leaving"
    if not member.ready:
        return "starting"
    return "working" if member.calls else "idle"

"""How many replicas a served teacher should have: from how long its students wait and how busy its replicas are.

A replica is added while students wait *and* the replicas are busy: waiting for a replica that loads, or for a slow
network, is no reason. One is taken away when the others would not be busy without it. Between the two shares lies a
gap, so that what was taken away is not added again by the same load, and every change has to be right for some time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

WAIT_SHARE = 0.1
"""Students that wait for more of their time than this get another replica."""
BUSY, IDLE_ENOUGH = 0.8, 0.6
"""Replicas are busy above the one; one is spared if the others stay below the other without it."""
UP_AFTER_S, DOWN_AFTER_S = 10.0, 120.0
"""For how long a change must have been right: more replicas soon, fewer late, for loading costs more than keeping."""


@dataclass(frozen=True)
class Load:
    """What a teacher's service had to do lately.

    Attributes:
        wait_share: of the time of its students, what they spent waiting for it; 1 where a run waits for a whole pass;
            None where nobody asks.
        busy: of the time of its replicas, what they spent answering.
        queue: rows that are announced and not known.
        ready: replicas that work or could.
    """

    wait_share: float | None
    busy: float
    queue: int
    ready: int


@dataclass
class Autoscaler:
    """Of one teacher.

    Args:
        least: replicas that there are always.
        most: replicas that there are at most.

    Attributes:
        wanted: how many there should be.
        reason: of the newest change.
    """

    least: int
    most: int
    clock: Callable[[], float] = time.monotonic
    wanted: int = field(init=False)
    reason: str = field(init=False, default="")
    _since: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.wanted = self.least

    def bound(self, least: int, most: int) -> None:
        """Other bounds; what is wanted moves into them."""
        self.least, self.most = least, most
        self.wanted = min(max(self.wanted, least), most)

    def decide(self, load: Load) -> int:
        """How many replicas there should be now; a change of one has its reason in `reason`."""
        step, reason = self._step(load)
        now = self.clock()
        self._since = {step: self._since.get(step, now)}
        if step and now - self._since[step] >= (UP_AFTER_S if step > 0 else DOWN_AFTER_S):
            self.wanted, self.reason = self.wanted + step, reason
            self._since = {}
        return self.wanted

    def _step(self, load: Load) -> tuple[int, str]:
        """The change that is right by this look alone, and why."""
        if load.ready < self.wanted:
            return 0, ""  # the last one that was added has not shown yet what it changes
        waiting = load.wait_share is not None and load.wait_share > WAIT_SHARE
        if waiting and load.queue and load.busy > BUSY and self.wanted < self.most:
            return 1, f"students wait {load.wait_share:.0%} of their time, replicas are busy {load.busy:.0%} of theirs"
        spared = load.busy * self.wanted / max(1, self.wanted - 1)
        if spared < IDLE_ENOUGH and self.wanted > self.least:
            return -1, f"replicas are busy {load.busy:.0%} of their time, {spared:.0%} with one less"
        return 0, ""

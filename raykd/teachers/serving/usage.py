"""Who uses a teacher's service and how much: leases, counters of rows and files, recoveries; no Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WINDOW_S = 30.0
"""Rows per second are those of the last so many seconds."""
MOST_LOSSES = 64
"""Lost calls whose recovery is waited for; an older one was of rows that nobody wants any more."""
Clock = Callable[[], float]


class Leases:
    """Runs that use a service, each for so long after its last word.

    Args:
        lease_s: None: a service that lives and dies with its driver keeps no leases.
    """

    def __init__(self, lease_s: float | None, clock: Clock = time.monotonic) -> None:
        self._lease_s, self._clock = lease_s, clock
        self._until: dict[str, float] = {}
        self._born = clock()

    def renew(self, run: str) -> None:
        """A run has been heard of."""
        if self._lease_s is not None:
            self._until[run] = self._clock() + self._lease_s

    def release(self, run: str) -> None:
        """A run needs the service no longer."""
        self._until.pop(run, None)

    def has(self, run: str) -> bool:
        """Whether a run's lease is not over."""
        return self._until.get(run, 0.0) >= self._clock()

    def runs(self) -> list[str]:
        """Those whose leases are not over."""
        return [run for run, until in self._until.items() if until >= self._clock()]

    @property
    def over(self) -> bool:
        """Whether all leases are over, and the time in which a first user may come."""
        return self._lease_s is not None and not self.runs() and self._clock() - self._born > self._lease_s


class _Recent:
    """Pairs of numbers with the time that they came, and their sums over the last `WINDOW_S`."""

    def __init__(self) -> None:
        self._items: deque[tuple[float, float, float]] = deque()

    def add(self, now: float, first: float, second: float) -> None:
        self._items.append((now, first, second))
        self._trim(now)

    def sums(self, now: float) -> tuple[float, float]:
        self._trim(now)
        return sum(first for _, first, _ in self._items), sum(second for _, _, second in self._items)

    def _trim(self, now: float) -> None:
        while self._items and self._items[0][0] < now - WINDOW_S:
            self._items.popleft()


class Recoveries:
    """How long it takes from a lost call to the next answer with any of its rows."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._open: deque[tuple[float, str, np.ndarray]] = deque(maxlen=MOST_LOSSES)
        self._seconds: list[float] = []

    def lost(self, corpus: str, ids: np.ndarray) -> None:
        """A call for these rows of a corpus was lost with its replica."""
        self._open.append((self._clock(), corpus, ids))

    def answered(self, corpus: str, ids: np.ndarray) -> None:
        """A call for these rows has been answered."""
        for loss in list(self._open):
            since, lost_corpus, lost_ids = loss
            if lost_corpus == corpus and np.isin(lost_ids, ids).any():
                self._seconds.append(self._clock() - since)
                self._open = deque((other for other in self._open if other is not loss), MOST_LOSSES)

    def take(self) -> list[float]:
        """Seconds of the recoveries since the last call of this."""
        seconds, self._seconds = self._seconds, []
        return seconds


@dataclass
class Traffic:
    """Rows of one service since its process began.

    Attributes:
        asked: rows that clients asked for; a client that waits asks again, which counts once.
        known: of these, rows that were known at once.
        forwards: rows that replicas answered.
        seconds: of their forwards, added over replicas.
        answers: calls that were answered.
        lost: rows whose replica died with them, and that were asked for again.
        segments, tables: files written: segments, and whole tables.
    """

    asked: int = 0
    known: int = 0
    forwards: int = 0
    seconds: float = 0.0
    answers: int = 0
    lost: int = 0
    segments: int = 0
    tables: int = 0
    clock: Clock = time.monotonic
    _answered: _Recent = field(default_factory=lambda: _Recent())
    _waited: _Recent = field(default_factory=lambda: _Recent())
    recoveries: Recoveries = field(default_factory=Recoveries)

    def answered(self, rows: int, seconds: float) -> None:
        """A replica has answered a call."""
        self.forwards, self.seconds, self.answers = self.forwards + rows, self.seconds + seconds, self.answers + 1
        self._answered.add(self.clock(), rows, seconds)

    def waited(self, seconds: float, of_seconds: float) -> None:
        """A client says how long it has waited since it last said so."""
        self._waited.add(self.clock(), seconds, of_seconds)

    def rows_per_s(self) -> float:
        """Rows answered per second of the last `WINDOW_S`."""
        return self._answered.sums(self.clock())[0] / WINDOW_S

    def busy(self) -> float:
        """Replicas that were answering, on average over the last `WINDOW_S`."""
        return self._answered.sums(self.clock())[1] / WINDOW_S

    def wait_share(self) -> float | None:
        """Of the time of the clients that asked in the last `WINDOW_S`, what they spent waiting; None without any."""
        waited, of_seconds = self._waited.sums(self.clock())
        return min(1.0, waited / of_seconds) if of_seconds else None

    def as_dict(self) -> dict[str, Any]:
        """The counters, the rates, and the share of asked rows that were known at once (None before the first)."""
        hit_rate = self.known / self.asked if self.asked else None
        names = ("asked", "known", "forwards", "seconds", "lost")
        rates = {"rows_per_s": self.rows_per_s(), "busy": self.busy(), "wait_share": self.wait_share()}
        return {name: getattr(self, name) for name in names} | rates | {"hit_rate": hit_rate}

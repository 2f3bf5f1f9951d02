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
    recoveries: Recoveries = field(default_factory=Recoveries)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def answered(self, rows: int, seconds: float) -> None:
        """A replica has answered a call."""
        self.forwards, self.seconds, self.answers = self.forwards + rows, self.seconds + seconds, self.answers + 1
        self._recent.append((self.clock(), rows))
        self._trim()

    def rows_per_s(self) -> float:
        """Rows answered per second of the last `WINDOW_S`."""
        self._trim()
        return sum(rows for _, rows in self._recent) / WINDOW_S

    def as_dict(self) -> dict[str, Any]:
        """The counters, the rate and the share of asked rows that were known at once (None before the first)."""
        hit_rate = self.known / self.asked if self.asked else None
        names = ("asked", "known", "forwards", "seconds", "lost")
        return {name: getattr(self, name) for name in names} | {"rows_per_s": self.rows_per_s(), "hit_rate": hit_rate}

    def _trim(self) -> None:
        while self._recent and self._recent[0][0] < self.clock() - WINDOW_S:
            self._recent.popleft()

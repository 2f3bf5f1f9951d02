"""Which rows of one corpus are known, under way and wanted: dense arrays over its ids, no Ray."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raykd.teachers.serving.values import RaggedRows, Values

IN_ORDER = 4
"""Calls that are filled in the announced order after a student has asked; then rows of like length are sought."""
LARGEST_WINDOW = 16


@dataclass
class Ledger:
    """State of every row of a corpus for one teacher.

    Attributes:
        lengths: [N] a row's length in characters; rows of like length are packed together.
        values: the answers, [N, C] or ragged, of the rows that are known.
        keep_bytes: the newest answers are kept up to so much, and the others forgotten: their rows are computed again
            when they are asked for again. Of ragged answers; None: all are kept.
        known: [N] bool.
        call: [N] the call under way for a row, −1 for none.
        announced: [N] bool, rows that some run will want.
        urgent: rows that a student waits for, nearest first; they go before the announced ones.
    """

    lengths: np.ndarray
    values: np.ndarray | RaggedRows
    keep_bytes: int | None = None
    known: np.ndarray = field(init=False)
    call: np.ndarray = field(init=False)
    announced: np.ndarray = field(init=False)
    owner: np.ndarray = field(init=False)
    attempts: np.ndarray = field(init=False)
    urgent: deque[int] = field(init=False, default_factory=deque)
    computed: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.lengths)
        self.known = np.zeros(rows, bool)
        self.call = np.full(rows, -1, np.int64)
        self.announced = np.zeros(rows, bool)
        self.owner = np.full(rows, -1, np.int32)
        self.attempts = np.zeros(rows, np.int16)
        self.announced_rows = self.missing = 0
        """How many are announced, and of these not known. Counted on the way: every call of every student asks."""
        self._runs: list[str] = []
        self._queue: deque[np.ndarray] = deque()
        self._unasked = 0
        self._unwritten: list[np.ndarray] = []
        self._kept: deque[tuple[np.ndarray, int]] = deque()

    def reset(self, values: np.ndarray | RaggedRows) -> None:
        """No row is known any more; answers go to this table from now on."""
        self.values = values
        self.known[:] = False
        self._count()

    def restore(self, ids: np.ndarray, values: Values) -> np.ndarray:
        """Takes answers; a row that is known keeps its first one. Returns the ids that were not known."""
        unknown = ~self.known[ids]
        fresh = ids[unknown]
        self._put(fresh, values[unknown])
        self.missing -= int(self.announced[fresh].sum())
        self.known[fresh] = True
        return fresh

    def announce(self, run: str, ids: np.ndarray) -> None:
        """A run will want these rows, in this order."""
        fresh = ids[~self.announced[ids] & ~self.known[ids]]
        self.announced[ids] = True
        self._count()
        self._own(run, fresh)
        if len(fresh):
            self._queue.append(fresh)

    def want(self, run: str, ids: np.ndarray) -> None:
        """A student waits for these rows: they go first. Rows known, under way or queued as urgent are passed over."""
        self._own(run, ids)
        waiting = set(self.urgent)
        self.urgent.extend(int(i) for i in ids if not self.known[i] and self.call[i] < 0 and int(i) not in waiting)
        if self.keep_bytes is None:
            fresh = np.unique(ids[~self.announced[ids]])
            self.announced_rows += len(fresh)
            self.missing += int((~self.known[fresh]).sum())
            self.announced[fresh] = True
        self._unasked = 0

    def next_pack(self, tokens: int, max_tokens_row: int) -> np.ndarray | None:
        """Ids of the next call, at most `tokens` tokens by the estimate of `cost`; None where nothing is left to do."""
        waiting = np.array([i for i in self.urgent if not self.known[i] and self.call[i] < 0], np.int64)
        self.urgent.clear()
        if len(waiting):
            pack = self._nearest(waiting, tokens, max_tokens_row)
            self.urgent.extend(waiting[len(pack) :].tolist())
            return pack
        return self._next_fill(tokens, max_tokens_row)

    def _next_fill(self, tokens: int, max_tokens_row: int) -> np.ndarray | None:
        while self._queue:
            head = self._queue[0]
            calls = self._window()
            window = head[: calls * max(1, tokens // max(1, int(self.cost(head[:64], max_tokens_row).mean())))]
            open_rows = window[~self.known[window] & (self.call[window] < 0)]
            if not len(open_rows):
                self._advance(len(window))
                continue
            self._unasked += 1
            if calls == 1:
                pack = self._nearest(open_rows, tokens, max_tokens_row)
                self._advance(int(np.flatnonzero(window == pack[-1])[0]) + 1)
            else:
                pack = self._shortest(open_rows, tokens, max_tokens_row)
                if len(pack) == len(open_rows):
                    self._advance(len(window))
            return pack
        return None

    def _window(self) -> int:
        """Calls' worth of rows that are sorted by length before one is cut off.

        A student at work, who has asked lately, needs the rows in their order; where nobody asks, as in a pass before
        the training, the window grows and there is little padding.
        """
        return min(2 ** max(0, self._unasked - IN_ORDER), LARGEST_WINDOW)

    def _advance(self, rows: int) -> None:
        head = self._queue.popleft()
        if rows < len(head):
            self._queue.appendleft(head[rows:])

    def _nearest(self, ids: np.ndarray, tokens: int, max_tokens_row: int) -> np.ndarray:
        """The first rows, as many as fit when all are padded to the longest of them."""
        padded = np.maximum.accumulate(self.cost(ids, max_tokens_row)) * np.arange(1, len(ids) + 1)
        return ids[: max(1, int(np.searchsorted(padded, tokens, side="right")))]

    def _shortest(self, ids: np.ndarray, tokens: int, max_tokens_row: int) -> np.ndarray:
        """The same of the rows sorted by length."""
        return self._nearest(ids[np.argsort(self.lengths[ids], kind="stable")], tokens, max_tokens_row)

    def cost(self, ids: np.ndarray, max_tokens_row: int) -> np.ndarray:
        """Tokens of each row, estimated from its characters (English: about 4 a token)."""
        return np.minimum(self.lengths[ids] // 4 + 3, max_tokens_row)

    def start(self, call: int, ids: np.ndarray) -> None:
        """A call for these rows has been sent to a replica."""
        self.call[ids] = call
        self.attempts[ids] += 1

    def finish(self, ids: np.ndarray, values: Values) -> None:
        """A call has answered; a row that was known already keeps its first answer."""
        self.call[ids] = -1
        fresh = self.restore(ids, values)
        self.attempts[fresh] = 0
        if self.keep_bytes is None:
            self._unwritten.append(fresh)
        else:
            self._evict(fresh, self.keep_bytes)
        owners, counts = np.unique(self.owner[fresh], return_counts=True)
        for owner, count in zip(owners, counts, strict=True):
            run = self._runs[owner] if owner >= 0 else ""
            self.computed[run] = self.computed.get(run, 0) + int(count)

    def fail(self, ids: np.ndarray, by_replica: bool = True) -> None:
        """A call was lost: its rows go first. It is an attempt at them where a replica died of it."""
        self.call[ids] = -1
        self.attempts[ids] -= not by_replica
        self.urgent.extendleft(int(i) for i in ids[::-1] if not self.known[i])

    def forget(self, ids: np.ndarray) -> None:
        """Rows are not known any more: they go first."""
        self.known[ids] = False
        self._count()
        self.urgent.extend(ids.tolist())

    def unwritten(self) -> np.ndarray:
        """Ids of rows known but not yet on disk, and forgets them as such."""
        ids = np.concatenate(self._unwritten) if self._unwritten else np.empty(0, np.int64)
        self._unwritten = []
        return ids

    @property
    def unwritten_rows(self) -> int:
        """How many rows a crash would lose."""
        return sum(len(ids) for ids in self._unwritten)

    def _count(self) -> None:
        self.announced_rows = int(self.announced.sum())
        self.missing = int((self.announced & ~self.known).sum())

    def _put(self, ids: np.ndarray, values: Values) -> None:
        rows: Any = self.values  # an array takes arrays, ragged rows take ragged ones
        rows[ids] = values

    def _evict(self, newest: np.ndarray, most: int) -> None:
        """Drops the oldest answers while all take more than `most` bytes; never the newest."""
        assert isinstance(self.values, RaggedRows)
        self._kept.append((newest, self.values.nbytes(newest)))
        while len(self._kept) > 1 and sum(size for _, size in self._kept) > most:
            oldest, _ = self._kept.popleft()
            self.missing += int(self.announced[oldest].sum())
            self.known[oldest] = False
            self.values.drop(oldest.tolist())

    def _own(self, run: str, ids: np.ndarray) -> None:
        if run not in self._runs:
            self._runs.append(run)
        unowned = ids[self.owner[ids] < 0]
        self.owner[unowned] = self._runs.index(run)

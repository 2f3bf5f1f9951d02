"""One teacher's soft targets of one corpus as its service has them: the ledger of the rows, and their files.

docs/design.md, section "The store": rows that are known go to segment files, and to one sealed table once all announced
ones are.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from raykd.data.splits import Split, TextSplit
from raykd.teachers.serving.ledger import Ledger
from raykd.teachers.serving.usage import Traffic
from raykd.teachers.teacher_model import TeacherModel

SEGMENT_ROWS = 4096
SEGMENT_SECONDS = 2.0


class CorpusTargets:
    """Begins with the rows that are on disk. Not thread-safe: its service holds a lock around it.

    Of texts that are in no file of the cache nothing is stored: they are forgotten once whoever asked has the answers.

    Args:
        traffic: counts the files that are written.
        keep_bytes: nothing is stored, and so much of the newest answers is remembered; see `Ledger`.

    Attributes:
        sealed: the whole table is on disk.
        users: the runs that have registered it.
    """

    def __init__(
        self, teacher: TeacherModel, split: Split, cache: Path, traffic: Traffic, keep_bytes: int | None = None
    ) -> None:
        self.split, self.sealed, self._traffic = split, False, traffic
        self.users: set[str] = set()
        self._teacher, self._store = teacher, teacher.store(cache, split.texts)
        self._stores = keep_bytes is None and not isinstance(split, TextSplit)
        lengths = split.open().lengths
        self.ledger = Ledger(lengths, teacher.empty_rows(len(lengths)), keep_bytes)
        if self._stores:
            self._restore()
        self._written = time.monotonic()

    @property
    def has_work(self) -> bool:
        """Whether any row is announced or waited for and not known."""
        return self.ledger.missing > 0 or bool(self.ledger.urgent)

    def announce(self, run: str, ids: np.ndarray) -> None:
        """A run will want these rows, in this order."""
        self.ledger.announce(run, ids)
        if self.sealed and self.ledger.missing:
            self.sealed = False
            self._take_back()

    def progress(self, run: str) -> dict[str, Any]:
        """Rows announced, missing and computed for this run; whether the table is sealed."""
        return {
            "announced": self.ledger.announced_rows,
            "missing": self.ledger.missing,
            "sealed": self.sealed,
            "computed": self.ledger.computed.get(run, 0),
        }

    def state(self) -> dict[str, Any]:
        """What a person sees of it: rows of the file, announced, known and missing ones, where they are stored."""
        ledger = self.ledger
        return {
            "rows": len(ledger.known),
            "announced": ledger.announced_rows,
            "known": int(ledger.known.sum()),
            "missing": ledger.missing,
            "sealed": self.sealed,
            "store": str(self._store.folder) if self._stores else None,
        }

    @property
    def done(self) -> bool:
        """Whether nothing is to be computed or written."""
        return self.sealed or (isinstance(self.split, TextSplit) and not self.has_work)

    def store(self) -> None:
        """Seals a whole table, or writes a segment where one is due."""
        if not self._stores:
            return
        ledger = self.ledger
        if not self.sealed and ledger.missing == 0 and ledger.announced_rows:
            self._seal()
        elif ledger.unwritten_rows >= SEGMENT_ROWS or time.monotonic() - self._written > SEGMENT_SECONDS:
            self.write()

    def _seal(self) -> None:
        """Makes one table of all files; whoever asks reads it from then on, so that no values are kept here."""
        self.write()
        self.ledger.values = self._teacher.empty_rows(0)
        lost = self.ledger.known.copy()
        lost[self._store.seal()] = False
        if lost.any():
            # A segment was damaged since it was written.
            self.ledger.forget(np.flatnonzero(lost))
            self._take_back()
            return
        self.sealed = True
        self._traffic.tables += 1

    def _take_back(self) -> None:
        """Has values again, where more rows are to come."""
        self.ledger.reset(self._teacher.empty_rows(len(self.ledger.known)))
        self._restore()

    def _restore(self) -> None:
        """Takes what is on disk, file by file."""
        for part in self._store.parts():
            self.ledger.restore(part.ids, part.values)

    def write(self) -> None:
        """Writes what is not yet on disk as a segment."""
        self._written = time.monotonic()
        ids = self.ledger.unwritten()
        if len(ids):
            self._store.append(ids, self.ledger.values[ids])
            self._traffic.segments += 1

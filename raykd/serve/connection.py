"""A served ensemble for training loops that are not raykd's: soft targets of texts, or of a corpus that it was told."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from ray.exceptions import RayError

from raykd import runtime
from raykd.config.ensemble import EnsembleRecord
from raykd.data.splits import Split, TextSplit, sentence_table, write_split
from raykd.errors import ConfigError, DataError
from raykd.serve import ensembles
from raykd.teachers.serving.client import Ensemble, TargetSource
from raykd.teachers.serving.service_actor import connect as connect_service
from raykd.teachers.serving.service_spec import TeacherServiceSpec


class ServedEnsemble:
    """A client of a served ensemble, one for each process of a training.

    `soft_targets(texts=…)` may be called from several threads at once; all else is not thread-safe.

    Args:
        record: of the ensemble.
        specs: its services.
        held: what is closed with it (a Ray connection that was made for it).

    Attributes:
        name: of the ensemble.
        teachers: the names of the K teachers, in the order of the answers.
        labels: the names of the C columns; empty in a regression.
    """

    def __init__(self, record: EnsembleRecord, specs: Sequence[TeacherServiceSpec], held: contextlib.ExitStack) -> None:
        self._record = record
        self.name, self.labels = record.name, list(record.labels)
        self.teachers = [served.name for served in record.teachers]
        self._specs, self._held = list(specs), held
        self._run = f"client-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._corpus: Ensemble | None = None
        self._rows = 0

    @property
    def identities(self) -> list[str]:
        """Of each teacher, what its answers are stored under: another one wherever the answers could differ."""
        return [served.identity for served in self._record.teachers]

    def only(self, teacher: str) -> ServedEnsemble:
        """One of its teachers, K = 1; it is closed apart from this, and before it.

        Raises:
            ConfigError: there is none of that name.
        """
        record = self._record.model_copy(update={"teachers": [self._record.teacher(teacher)]})
        return ServedEnsemble(record, [self._specs[self.teachers.index(teacher)]], contextlib.ExitStack())

    def register(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> np.ndarray:
        """Tells the ensemble the rows of a training: it fills them ahead of time and stores the answers in its cache.

        Any run or client that registers the same texts, in the same order, finds the answers there. The cache must be
        writable from this process.

        Args:
            texts: of all N rows.
            pairs: the second sentence of each row, where the teachers read pairs.

        Returns:
            The ids of the rows, [N] int64: their places. `soft_targets(ids=…)` takes them from now on.

        Raises:
            DataError: a row is no text, or the cache cannot be written.
        """
        table = sentence_table(texts, pairs)
        split = write_split("texts", table, Path(self._specs[0].cache))
        self._close_corpus()
        ids = np.arange(len(texts), dtype=np.int64)
        self._corpus, self._rows = Ensemble(self._sources(split, ids)), len(texts)
        return ids

    def prefetch(self, batches: Sequence[np.ndarray]) -> None:
        """Asks for the registered rows of the next batches (ids), without waiting."""
        if self._corpus is not None:
            self._corpus.prefetch([np.asarray(ids, np.int64) for ids in batches])

    def soft_targets(
        self,
        ids: Sequence[int] | np.ndarray | None = None,
        texts: Sequence[str] | None = None,
        pairs: Sequence[str] | None = None,
    ) -> np.ndarray:
        """The teachers' logits for some rows, waiting for what is not known yet.

        Args:
            ids: rows of the registered corpus, [B]; each is computed once, whoever asks.
            texts: B texts, computed now; nothing of them is stored.
            pairs: the second sentence of each text.

        Returns:
            Logits [K, B, C] in float32 (float64 of teachers in float64): softmax over the last axis, at a temperature
            of your choice, makes soft targets of them.

        Raises:
            ConfigError: neither or both of ids and texts are given, or ids before `register`.
            DataError: an id is none of a row, or a text is no text.
            TeacherError: a teacher cannot answer.
        """
        if (ids is None) == (texts is None):
            raise ConfigError("soft_targets", "needs ids or texts, one of the two", "see docs/serving.md")
        if texts is not None:
            return self._of_texts(texts, pairs)
        if self._corpus is None:
            raise ConfigError("soft_targets(ids=…)", "no corpus is registered", "call register(texts) first")
        wanted = np.asarray(ids, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self._rows):
            wrong = int(wanted[(wanted < 0) | (wanted >= self._rows)][0])
            raise DataError(
                f"id {wrong}", f"is none of the {self._rows:,} registered rows", "take what register returned"
            )
        self._corpus.prefetch([wanted])  # all teachers at once
        return self._corpus.get(wanted)

    def close(self) -> None:
        """Lets the ensemble go, and the connection to Ray where `connect` has made it."""
        self._close_corpus()
        for spec in self._specs:
            with contextlib.suppress(RayError, ValueError):
                connect_service(spec).release.remote(self._run)
        self._held.close()

    def __enter__(self) -> ServedEnsemble:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _of_texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        split = TextSplit.of(texts, pairs)
        ids = np.arange(len(texts), dtype=np.int64)
        asked = Ensemble(self._sources(split, ids))
        try:
            asked.prefetch([ids])  # all teachers at once
            return asked.get(ids)
        finally:
            asked.close()
            for spec in self._specs:
                with contextlib.suppress(RayError, ValueError):
                    connect_service(spec).forget.remote(split.texts)

    def _sources(self, split: Split, ids: np.ndarray) -> list[TargetSource]:
        return [TargetSource(spec.teacher, split, spec.cache, self._run, ids, spec) for spec in self._specs]

    def _close_corpus(self) -> None:
        if self._corpus is not None:
            self._corpus.close()
        self._corpus = None


def connect(name: str, address: str | None = None) -> ServedEnsemble:
    """What `raykd.connect` returns, and raises; see there."""
    with contextlib.ExitStack() as held:
        held.enter_context(runtime.joined(address, f"ensemble {name}"))
        keeper = ensembles.find(name)
        record, specs = ensembles.ask(keeper.record.remote()), ensembles.ask(keeper.specs.remote())
        return ServedEnsemble(record, specs, held.pop_all())

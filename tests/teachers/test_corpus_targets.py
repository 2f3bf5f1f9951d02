"""What a service has of one corpus: sealed it holds no values, wanted again it has them back, damaged it asks anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raykd.data.corpus import Corpus
from raykd.teachers.serving.corpus_targets import CorpusTargets
from raykd.teachers.serving.store import Store
from raykd.teachers.serving.usage import Traffic
from raykd.teachers.teacher_model import TeacherModel

ROWS = 40


def targets(teacher: TeacherModel, corpus: Corpus, cache: Path) -> CorpusTargets:
    return CorpusTargets(teacher, corpus.splits["train"], cache, Traffic())


def answers(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids, -ids], 1).astype(np.float64)


def compute(entry: CorpusTargets) -> np.ndarray:
    """Plays the replica until nothing is missing; returns the ids that it was given."""
    given: list[np.ndarray] = []
    while (ids := entry.ledger.next_pack(200, 32)) is not None:
        entry.ledger.start(len(given), ids)
        entry.ledger.finish(ids, answers(ids))
        given.append(ids)
    return np.sort(np.concatenate(given)) if given else np.empty(0, np.int64)


def stored(teacher: TeacherModel, corpus: Corpus, cache: Path) -> Store:
    return teacher.store(cache, corpus.splits["train"].texts)


def test_a_sealed_corpus_holds_no_values_and_takes_more_rows(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path
) -> None:
    entry = targets(teacher, corpus, tmp_path)
    entry.announce("a", np.arange(ROWS))
    assert compute(entry).tolist() == list(range(ROWS))
    entry.store()
    assert entry.sealed
    assert len(entry.ledger.values[:]) == 0  # type: ignore[index]
    entry.announce("b", np.arange(ROWS // 2))
    assert entry.sealed
    entry.announce("b", np.arange(ROWS - 5, ROWS + 5))
    assert not entry.sealed
    assert entry.ledger.missing == 5
    np.testing.assert_array_equal(entry.ledger.values[np.arange(ROWS)], answers(np.arange(ROWS)))
    assert compute(entry).tolist() == list(range(ROWS, ROWS + 5))
    entry.store()
    assert entry.sealed
    table = stored(teacher, corpus, tmp_path).sealed()
    assert table is not None
    np.testing.assert_array_equal(table.ids, np.arange(ROWS + 5))
    np.testing.assert_array_equal(table.values, answers(table.ids))


def test_rows_of_a_segment_that_was_damaged_before_sealing_are_computed_again(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path
) -> None:
    entry = targets(teacher, corpus, tmp_path)
    entry.announce("a", np.arange(10))
    compute(entry)
    entry.write()
    (segment,) = stored(teacher, corpus, tmp_path).segments.glob("*.arrow")
    segment.write_bytes(segment.read_bytes()[:-30])
    entry.announce("a", np.arange(ROWS))
    compute(entry)
    entry.store()
    assert not entry.sealed
    assert entry.ledger.missing == 10
    np.testing.assert_array_equal(entry.ledger.values[np.arange(10, ROWS)], answers(np.arange(10, ROWS)))
    assert compute(entry).tolist() == list(range(10))
    entry.store()
    assert entry.sealed
    table = stored(teacher, corpus, tmp_path).sealed()
    assert table is not None
    np.testing.assert_array_equal(table.values, answers(np.arange(ROWS)))

"""Rows of different lengths: in memory, in the ledger with a bound, in the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raykd.teachers.serving.ledger import Ledger
from raykd.teachers.serving.store import Address, Store
from raykd.teachers.serving.values import Ragged, RaggedRows, concatenate, finite_rows

ADDRESS = Address("weights", "tokenizer", "corpus", 64, "longest_first", "float32", (), (), 0, "features:hidden.1")
ROWS = [np.arange(n, dtype=np.float16) + 10 * n for n in (3, 1, 4, 2)]
IDS = np.array([5, 1, 9, 3])


def lists(values: Ragged) -> list[list[float]]:
    return [row.tolist() for row in values.rows()]


def test_rows_are_taken_by_number_and_by_mask() -> None:
    ragged = Ragged.of(ROWS, "float16")
    assert lists(ragged) == [row.tolist() for row in ROWS]
    assert lists(ragged[np.array([2, 0])]) == [ROWS[2].tolist(), ROWS[0].tolist()]
    assert lists(ragged[np.array([False, True, False, True])]) == [ROWS[1].tolist(), ROWS[3].tolist()]
    both = concatenate([ragged, ragged[np.array([1])]])
    assert isinstance(both, Ragged)
    assert lists(both) == [row.tolist() for row in (*ROWS, ROWS[1])]
    assert lists(Ragged.of([], "float16")) == []


def test_a_row_that_is_not_finite_is_found() -> None:
    bad = Ragged.of([ROWS[0], np.array([1, np.nan], np.float16), np.array([np.inf], np.float16)], "float16")
    assert finite_rows(bad).tolist() == [True, False, False]
    assert finite_rows(np.array([[1.0, 2.0], [np.nan, 0.0]])).tolist() == [True, False]


def test_ragged_rows_come_back_from_segments_and_from_the_sealed_table(tmp_path: Path) -> None:
    store, ragged = Store(tmp_path, ADDRESS, None, "float16"), Ragged.of(ROWS, "float16")
    store.append(IDS[:2], ragged[np.array([0, 1])])
    store.append(IDS[2:], ragged[np.array([2, 3])])
    loaded = Store(tmp_path, ADDRESS, None, "float16").load()
    assert loaded.ids.tolist() == [1, 3, 5, 9]
    assert lists(loaded.values) == [ROWS[k].tolist() for k in (1, 3, 0, 2)]  # type: ignore[arg-type]
    store.seal()
    sealed = Store(tmp_path, ADDRESS, None, "float16").sealed()
    assert sealed is not None
    assert lists(sealed.take(np.array([9, 1]))) == [ROWS[2].tolist(), ROWS[1].tolist()]  # type: ignore[arg-type]
    assert list(store.segments.glob("*.arrow")) == []


def test_a_bounded_ledger_forgets_the_oldest_and_gives_them_again() -> None:
    """Three rows of 8 bytes each, room for two: the first must be computed again when it is asked for again."""
    book = Ledger(np.full(5, 20, np.int32), RaggedRows("float16"), keep_bytes=16)
    for call in range(3):
        book.want("a", np.array([call]))
        ids = book.next_pack(1000, 64)
        assert ids is not None
        assert ids.tolist() == [call]
        book.start(call, ids)
        book.finish(ids, Ragged.of([np.full(4, call)], "float16"))
    assert book.known.tolist() == [False, True, True, False, False]
    assert lists(book.values[np.array([2])]) == [[2.0] * 4]
    assert book.missing == 0
    assert book.unwritten_rows == 0
    book.want("a", np.array([0, 1]))
    again = book.next_pack(1000, 64)
    assert again is not None
    assert again.tolist() == [0]
    assert book.computed == {"a": 3}

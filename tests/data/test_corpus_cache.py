"""The cached file of a split: found again, replaced when damaged, refused when foreign; and rows counted twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from corpus_files import Load, Write, reviews

from raykd.data.corpus import Rows
from raykd.errors import DataError


@pytest.fixture
def written(write: Write) -> Write:
    """A train and a validation that share no row."""
    write("train.csv", reviews(20))
    write("validation.csv", reviews(6, "other"))
    return write


@pytest.mark.usefixtures("written")
def test_a_second_load_reads_the_same_file(load_written: Load) -> None:
    first = load_written()
    path = Path(first.splits["train"].path)
    assert path.name == "train.arrow"
    assert path.parent.name == first.splits["train"].fingerprint
    before = path.stat().st_mtime_ns
    assert load_written(quiz=0.2, max_train_rows=4).splits == first.splits
    assert path.stat().st_mtime_ns == before
    assert {file.suffix for file in path.parent.iterdir()} == {".arrow", ".lock"}


def test_other_content_is_another_fingerprint(written: Write, load_written: Load) -> None:
    before = load_written().splits["train"].fingerprint
    changed = reviews(20)
    changed["label"][3] = 0
    written("train.csv", changed)
    assert load_written().splits["train"].fingerprint != before
    # Letters that move from one row to the next are another corpus too.
    written("train.csv", {"text": ["ab", "c"], "label": [0, 1]})
    one = load_written().splits["train"].fingerprint
    written("train.csv", {"text": ["a", "bc"], "label": [0, 1]})
    assert load_written().splits["train"].fingerprint != one


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("keep", [0, 100, -8])
def test_a_damaged_file_is_written_anew(load_written: Load, keep: int) -> None:
    split = load_written().splits["train"]
    content = Path(split.path).read_bytes()
    os.truncate(split.path, keep if keep >= 0 else len(content) + keep)
    with pytest.raises(DataError, match="is damaged"):
        Rows.open(split.path, split.fingerprint)
    load_written()
    assert Path(split.path).read_bytes() == content


@pytest.mark.usefixtures("written")
def test_a_foreign_or_absent_file_is_refused(load_written: Load, tmp_path: Path) -> None:
    split = load_written().splits["train"]
    with pytest.raises(DataError, match=f"holds corpus {split.fingerprint[:12]}, not 000000000000"):
        Rows.open(split.path, "0" * 64)
    with pytest.raises(DataError, match="the cache must be on storage shared by all nodes"):
        Rows.open(tmp_path / "gone.arrow", split.fingerprint)


def test_rows_that_stand_in_both_are_counted(write: Write, load_written: Load) -> None:
    write("train.csv", {"text": ["a", "b", "c", "a"], "text_pair": ["x", "x", "y", "x"], "label": [0, 1, 0, 1]})
    write("validation.csv", {"text": ["a", "a", "b", "d"], "text_pair": ["x", "x", "y", "x"], "label": [0, 1, 0, 1]})
    corpus = load_written()
    assert corpus.overlap == 2  # both "a", "x"; "b" has another pair
    assert corpus.warnings == ["2 of 4 validation rows are in train as well; they are kept"]
    assert len(corpus.ids["validation"]) == 4


def test_the_generated_corpus(load_written: Load) -> None:
    corpus = load_written(source="generated", quiz=0.1)
    assert (corpus.labels, corpus.named, corpus.overlap) == (["negative", "positive"], True, 0)
    assert {signal: len(ids) for signal, ids in corpus.ids.items()} == {"train": 2700, "validation": 600, "quiz": 300}
    assert set(corpus.rows("train").domains(np.arange(100)) or []) == {"books", "electronics", "kitchen"}
    with pytest.raises(DataError, match="generated corpus: no split 'test'"):
        load_written(source="generated", test="test")

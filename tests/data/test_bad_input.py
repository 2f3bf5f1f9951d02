"""Each way in which data can be unusable: one line that says where, what and how to mend it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from corpus_files import Load, Write, reviews

from raykd.config import DataConfig, TaskConfig
from raykd.data.corpus import load
from raykd.errors import DataError

CLASSES = TaskConfig(labels=["no", "yes"])


def bad_text(value: bytes) -> pa.Array:
    """An Arrow string column whose fourth row has these bytes."""
    rows = [b"a", b"b", b"c", value, b"e", b"f", b"g", b"h"]
    ends = np.cumsum([0] + [len(row) for row in rows], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), 8, [None, pa.py_buffer(ends), pa.py_buffer(b"".join(rows))])


BAD_LABELS = [
    ([0, 1, None, 1] * 2, "classification", "column 'label', row 3: the label is missing"),
    ([0, 1, 2, 1] * 2, CLASSES, "column 'label', row 3: label 2 is out of range 0 to 1 (the classes are no, yes"),
    ([0, 1, -2, 1] * 2, "classification", "column 'label', row 3: label -2 is out of range"),
    ([0, -1] * 4, "classification", "row 2: label -1 is out of range 0 to 1 (-1 marks a row without label"),
    ([0.0, 1.0, 0.5, 1.0] * 2, "classification", "row 3: label 0.5 is a float, and this is a classification (set"),
    ([0.0, 1.0] * 4, "classification", "row 1: label 0.0 is a whole number stored as a float"),
    ([0.0, float("nan")] * 4, "classification", "row 2: the label is missing (NaN)"),
    (["no", "maybe"] * 4, CLASSES, "column 'label', row 2: label 'maybe' is not known (known are no, yes"),
    ([1] * 8, "classification", "column 'label': all 8 rows kept for training have class 1"),
    (["no"] * 8, CLASSES, "column 'label': all 8 rows kept for training have class 0 (no)"),
    ([0, 10**12] * 4, "classification", "row 2: label 1000000000000 would mean more classes than the 8 rows"),
    ([[0]] * 8, "classification", "column 'label', row 1: holds list<"),
    ([0.5, float("nan")] * 4, "regression", "column 'label', row 2: label nan is not finite"),
    ([0.5, float("inf")] * 4, "regression", "column 'label', row 2: label inf is not finite"),
    ([0.5, None] * 4, "regression", "column 'label', row 2: the label is missing"),
    (["0.5", "high"] * 4, "regression", "column 'label', row 2: label 'high' is not a number"),
    ([True, False] * 4, "regression", "column 'label', row 1: holds bool, not numbers"),
    ([2.5] * 8, "regression", "column 'label': all 8 rows kept for training have label 2.5"),
]


@pytest.mark.parametrize(("labels", "task", "said"), BAD_LABELS)
def test_labels(write: Write, load_written: Load, labels: list[Any], task: TaskConfig | str, said: str) -> None:
    write("train.parquet", {**reviews(), "label": labels})
    write("validation.parquet", reviews())
    line = refusal(load_written, task=task)
    assert "train.parquet, column 'label'" in line
    assert said in line


BAD_TEXTS = [
    (["a", "b", " \t"] + ["x"] * 5, "row 3: the text is empty"),
    (["a", None] + ["x"] * 6, "row 2: the text is missing"),
    ([None] * 8, "row 1: the text is missing"),
    (list(range(8)), "row 1: holds int64, not text"),
    ([b"x"] * 8, "row 1: holds binary, not text"),
    (bad_text(b"caf\xe9"), "row 4: is not UTF-8"),
]


@pytest.mark.parametrize("role", ["text", "text_pair"])
@pytest.mark.parametrize(("texts", "said"), BAD_TEXTS)
def test_texts(write: Write, load_written: Load, texts: Any, said: str, role: str) -> None:
    write("train.parquet", {**reviews(), role: texts})
    write("validation.parquet", {**reviews(), "text_pair": ["x"] * 8})
    keys = {"text_pair": "text_pair"} if role == "text_pair" else {"validation_from_train": 0.5}
    assert f"train.parquet, column {role!r}, {said}" in refusal(load_written, **keys)


def test_a_domain_that_is_not_utf_8(write: Write, load_written: Load) -> None:
    write("train.parquet", {**reviews(), "domain": bad_text(b"caf\xe9")})
    write("validation.parquet", {**reviews(), "domain": ["x"] * 8})
    assert "train.parquet, column 'domain', row 4: is not UTF-8" in refusal(load_written)


BAD_FILES = [
    ("csv", b"", "train.csv: has no rows"),
    ("csv", b"text,label\n", "train.csv: has no rows"),
    ("jsonl", b"\n", "train.jsonl: has no rows"),
    ("csv", b"text,label\nfine,0\ncaf\xe9,1\n", "train.csv, line 3: byte 4 (0xe9) is not UTF-8"),
    ("jsonl", b'{"text": "a", "label": 0}\n{"text": "\xff", "label": 1}\n', "train.jsonl, line 2: byte 11 (0xff)"),
    ("tsv", "text\tlabel\na\t0\n".encode("utf-16"), "train.tsv, line 1: byte 1 (0xff) is not UTF-8"),
    ("csv", b"text,label\na,0\nb,1,2\n", "train.csv, line 3: has 3 fields where the header has 2"),
    ("csv", b'text,label\n"a" b,0\n', "train.csv, line 2: malformed"),
    ("csv", b'text,label\n"a b,0\n', "train.csv, line 2: malformed"),
    ("csv", b"text,label\na,0\n,1\n", "train.csv, column 'text', row 2: the text is missing"),
    ("csv", b"text,label\na,0\nb,\n", "train.csv, column 'label', row 2: the label is missing"),
    ("csv", b"text,label\na,0.0\nb,1.0\n", "train.csv, column 'label', row 1: label 0.0 is a whole number stored"),
    ("jsonl", b'{"text": "a", "label": 0}\n{"text": \n', "train.jsonl, line 2: malformed JSON"),
    ("jsonl", b'{"text": "a", "label": 0}\n[1]\n', "train.jsonl, line 2: is [1], no object"),
    ("jsonl", b'{"text": "a", "label": 0}\n{"text": 7, "label": 1}\n', "train.jsonl, column 'text', row 2: 7 is not"),
    ("jsonl", b'{"text": "a", "label": 0}\n{"text": "b"}\n', "column 'label', row 2: the label is missing"),
    ("jsonl", b'{"text": "a", "label": 0}\n{"text": "b", "label": "x"}\n', "column 'label', row 2: 'x' is of another"),
    ("jsonl", b'{"text": "\\ud800", "label": 0}\n', "column 'text', row 1: holds half a surrogate pair"),
    ("csv", b'text,label\n"a b,0\nc,1\n"d",0\n', "train.csv, line 4: malformed"),
    ("csv", b"text,label\n" + b"a,0\n" * 9000 + b"caf\xe9,1\n", "train.csv, line 9002: byte 4 (0xe9) is not UTF-8"),
    (
        "csv",
        b"text,label\n" + b"a,0\n" * 9000 + b"b,1,2\n",
        "train.csv, line 9002: has 3 fields where the header has 2",
    ),
    ("csv", b"text,label,label\na,0,1\n", "train.csv: has two columns 'label'"),
    ("csv", b"text,label\na,0\nb," + b"9" * 5000 + b"\n", "train.csv, column 'label', row 2: label inf is not finite"),
    ("jsonl", b'{"text": "a", "label": 0, "label": 1}\n', "train.jsonl, line 1: has the key 'label' twice"),
    ("jsonl", b'{"text": ' + b"[" * 5000 + b"\n", "train.jsonl, line 1: nests too deep"),
    ("jsonl", b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n", "line 1: holds an integer of thousands of digits"),
    ("jsonl", b'{"text": "a", "label": 0.5}\n{"text": "b", "label": ' + b"9" * 400 + b"}\n", "row 2: 999"),
    ("parquet", b"no parquet", "train.parquet: cannot be read"),
    ("arrow", b"no arrow", "train.arrow: cannot be read"),
]


@pytest.mark.parametrize(("kind", "content", "said"), BAD_FILES)
def test_files(write: Write, load_written: Load, kind: str, content: bytes, said: str) -> None:
    write(f"train.{kind}", content)
    write("validation.parquet", reviews())
    assert said in refusal(load_written)


BAD_KEYS = [
    ({"source": "/nowhere/at/all"}, "/nowhere/at/all: no such file or folder"),
    ({"train": "other.csv"}, "other.csv: no such file"),
    ({"validation": "dev"}, "no file of the split 'dev'"),
    ({"test": "both"}, "has both.parquet and both.csv (name one as data.test)"),
    ({"train": "notes.txt"}, "no file of the split 'notes.txt'"),
    ({"label": "lable"}, "train.parquet: no column 'lable' for data.label (did you mean data.label=label; its columns"),
    ({"text": "sentence"}, "train.parquet: no column 'sentence' for data.text (set data.text; its columns are text, l"),
    ({"text_pair": "second"}, "train.parquet: no column 'second' for data.text_pair"),
    ({"domain": "genre"}, "train.parquet: no column 'genre' for data.domain"),
    ({"domains": ["a"]}, "validation.parquet: data.domains is set, but there is no domain column"),
    ({"domains": ["books"], "validation_from_train": 0.5}, "train.parquet: no row of the domain 'books' (its domains"),
    ({"quiz": 0.01}, "train.parquet: data.quiz=0.01 of 8 rows makes 0"),
    ({"fraction": 0.1}, "train.parquet: data.fraction=0.1 leaves 1 of 8 rows"),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS)
def test_keys(write: Write, load_written: Load, keys: dict[str, Any], said: str) -> None:
    write("train.parquet", {**reviews(), "domain": ["a", "b"] * 4})
    for name in ("validation.parquet", "both.parquet", "both.csv", "notes.txt"):
        write(name, reviews() if name != "notes.txt" else b"x")
    assert said in refusal(load_written, **keys)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_column_that_is_there_twice(write: Write, load_written: Load, kind: str) -> None:
    columns = [pa.array(["a", "b"] * 4), pa.array([0, 1] * 4), pa.array([1, 0] * 4)]
    write(f"train.{kind}", pa.Table.from_arrays(columns, names=["text", "label", "label"]))
    write("validation.csv", reviews())
    assert f"train.{kind}: has two columns 'label'" in refusal(load_written)


@pytest.mark.parametrize("below", ["", "deeper", "corpora"])
def test_a_cache_that_cannot_be_written(write: Write, tmp_path: Path, below: str) -> None:
    write("train.csv", reviews())
    write("validation.csv", reviews())
    cache = tmp_path / "cache"
    file = cache / "corpora" if below == "corpora" else cache
    file.parent.mkdir(exist_ok=True)
    file.write_text("a file in place of a folder")
    where = cache / below if below == "deeper" else cache
    with pytest.raises(DataError, match="cannot be written: Not a directory") as refused:
        load(DataConfig(source=str(tmp_path / "data")), TaskConfig(), where)
    assert str(refused.value).startswith(f"cache {where}: ")


def test_empty_split(write: Write, load_written: Load) -> None:
    write("train.parquet", reviews())
    write("validation.parquet", {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())})
    assert "validation.parquet: has no rows" in refusal(load_written)


def test_a_label_that_only_the_validation_has(write: Write, load_written: Load) -> None:
    write("train.csv", reviews())
    write("validation.csv", {"text": ["a", "b"], "label": [0, 2]})
    assert "validation.csv, column 'label', row 2: label 2 is out of range 0 to 1" in refusal(load_written)


def test_a_domain_is_missing(write: Write, load_written: Load) -> None:
    write("train.parquet", {**reviews(), "domain": ["a", None] * 4})
    write("validation.parquet", reviews())
    assert "train.parquet, column 'domain', row 2: the domain is missing" in refusal(load_written)


def test_pairs_in_one_split_only(write: Write, load_written: Load) -> None:
    write("train.parquet", {**reviews(), "text_pair": ["x"] * 8})
    write("validation.parquet", reviews())
    said = refusal(load_written)
    assert "validation.parquet: has no second sentence" in said
    assert "train.parquet has" in said


def refusal(load_written: Load, **keys: Any) -> str:
    """The one line that loading says; it survives pickling, as errors of actors do."""
    with pytest.raises(DataError) as refused:
        load_written(**keys)
    said = str(refused.value)
    assert "\n" not in said
    assert refused.value.mend
    assert str(pickle.loads(pickle.dumps(refused.value))) == said
    return said

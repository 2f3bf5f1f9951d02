"""Every format gives the same corpus; splits are found by name or by path."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from corpus_files import Load, Write, reviews

from raykd.data.load import hub
from raykd.data.load.columns import ColumnNames
from raykd.errors import DataError

TRICKY = ['a comma, a "quote"', "a\ttab", "two\nlines", "Grüße 🙂", "plain", "six"]
FORMATS = ["parquet", "arrow", "csv", "tsv", "jsonl"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows(write: Write, load_written: Load, kind: str) -> None:
    columns = {"text": TRICKY, "text_pair": TRICKY[::-1], "label": [0, 1, 2, 0, 1, 2], "domain": list("ababab")}
    write(f"train.{kind}", columns)
    write(f"validation.{kind}", columns)
    corpus = load_written()
    rows, ids = corpus.rows("train"), np.arange(6)
    assert rows.texts(ids) == TRICKY
    assert rows.pairs(ids) == TRICKY[::-1]
    assert rows.labels(ids).tolist() == [0, 1, 2, 0, 1, 2]
    assert rows.labels(ids).dtype == np.int64
    assert rows.domains(ids) == list("ababab")
    assert (corpus.labels, corpus.named) == (["LABEL_0", "LABEL_1", "LABEL_2"], False)
    assert rows.texts(np.array([4, 0])) == ["plain", TRICKY[0]]
    assert rows.lengths.tolist() == [len(a) + len(b) for a, b in zip(TRICKY, TRICKY[::-1], strict=True)]
    assert rows.lengths.dtype == np.int32


@pytest.mark.parametrize("kind", FORMATS)
def test_regression_labels_in_every_format(write: Write, load_written: Load, kind: str) -> None:
    columns = {"text": TRICKY, "label": [0.0, 1.5, 2.25, 5.0, 3.0, 4.0]}
    write(f"train.{kind}", columns)
    write(f"validation.{kind}", columns)
    corpus = load_written("regression")
    labels = corpus.rows("train").labels(np.arange(6))
    assert labels.dtype == np.float64
    assert labels.tolist() == columns["label"]
    assert corpus.labels is None


def test_the_fingerprint_is_of_the_content_and_not_of_the_format(write: Write, load_written: Load) -> None:
    found = set()
    for kind in FORMATS:
        write(f"a.{kind}", reviews())
        write(f"b.{kind}", reviews(6))
        found.add(load_written(train=f"a.{kind}", validation=f"b.{kind}").splits["train"].fingerprint)
    assert len(found) == 1


def test_columns_and_files_by_name(write: Write, load_written: Load, tmp_path: Path) -> None:
    write("first.csv", {"sentence": ["a", "b"], "stars": [0, 1], "genre": ["x", "y"]})
    elsewhere = tmp_path / "other.jsonl"
    elsewhere.write_text('{"sentence": "c", "stars": 1, "genre": "x"}\n\n{"sentence": "d", "stars": 0, "genre": "y"}\n')
    corpus = load_written(
        train="first.csv", validation=str(elsewhere), test="first.csv", text="sentence", label="stars", domain="genre"
    )
    assert corpus.rows("validation").texts(np.arange(2)) == ["c", "d"]
    assert corpus.rows("test").domains(np.arange(2)) == ["x", "y"]


def test_a_file_as_source(write: Write, load_written: Load) -> None:
    path = write("mine.csv", reviews(20))
    corpus = load_written(source=str(path), validation_from_train=0.2)
    assert (len(corpus.ids["train"]), len(corpus.ids["validation"])) == (16, 4)


def test_byte_order_mark_and_stream_files(write: Write, load_written: Load) -> None:
    write("train.csv", "\ufefftext,label\na,0\nb,1\n".encode())
    table = pa.table(reviews())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    write("validation.arrow", sink.getvalue().to_pybytes())
    corpus = load_written()
    assert corpus.rows("train").texts(np.arange(2)) == ["a", "b"]
    assert len(corpus.ids["validation"]) == 8


def test_csv_fields_are_what_is_written(write: Write, load_written: Load) -> None:
    fields = ["NA", "null", "1e5", "nan", ' a "quoted" word', '"two\r\nlines, ""so"""', '5" disk']
    lines = ["text,label,unused", "", *(f"{field},{k % 2},\xe9" for k, field in enumerate(fields))]
    write("train.csv", "\r\n".join(lines).encode("utf-8-sig"))
    write("validation.tsv", "\n".join(["text\tlabel", "a, b\t+1", "c\t0"]).encode())
    rows = load_written().rows("train")
    assert rows.texts(np.arange(7)) == [*fields[:5], 'two\r\nlines, "so"', fields[6]]
    assert rows.labels(np.arange(7)).tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert load_written().rows("validation").labels(np.arange(2)).tolist() == [1, 0]


def test_labels_of_a_regression_may_have_many_digits(write: Write, load_written: Load) -> None:
    write("train.csv", {"text": ["a", "b"], "label": [2**53 + 1, 3]})
    assert load_written("regression", validation="train").rows("train").labels(np.arange(2)).tolist() == [2.0**53, 3.0]


def test_optional_columns_that_are_all_null_are_not_used(write: Write, load_written: Load) -> None:
    empty = {"text_pair": pa.nulls(8, pa.string()), "domain": pa.nulls(8)}
    write("train.parquet", {**reviews(), **empty})
    write("validation.csv", {**reviews(), "domain": [""] * 8})
    rows = load_written().rows("train")
    assert rows.pairs(np.arange(2)) is None
    assert rows.domains(np.arange(2)) is None


def test_class_names_that_datasets_wrote(write: Write, load_written: Load, tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_dict(reviews(), features=features)
    made.to_parquet(tmp_path / "data" / "train.parquet")
    made.to_parquet(tmp_path / "data" / "validation.parquet")
    corpus = load_written()
    assert (corpus.labels, corpus.named) == (["no", "yes"], True)


def test_the_hub_reader_on_a_data_set_that_needs_no_network(tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1], "idx": [7, 8]})
    made.to_parquet(tmp_path / "train.parquet")
    source = hub.read(str(tmp_path), None, "train", ColumnNames(text="sentence"))
    assert source.table.to_pydict() == {"text": ["a", "b"], "label": [0, 1]}
    with pytest.raises(DataError, match="split 'nosuch': cannot be fetched"):
        hub.read(str(tmp_path), None, "nosuch", ColumnNames(text="sentence"))


def test_a_hub_name_offline_is_one_line(load_written: Load) -> None:
    with pytest.raises(DataError) as refused:
        load_written(source="nobody/nothing", subset="sst2")
    assert "nobody/nothing (sst2), split 'train': cannot be fetched" in str(refused.value)
    assert "\n" not in str(refused.value)

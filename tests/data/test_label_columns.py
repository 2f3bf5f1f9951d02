"""What a label column may hold, and what its classes are called."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from corpus_files import Load, Write, reviews

from raykd.config import TaskConfig
from raykd.errors import DataError

GENERIC = (["LABEL_0", "LABEL_1"], False)
KINDS = [
    ([0, 1] * 4, None, *GENERIC, [0, 1]),
    ([False, True] * 4, None, *GENERIC, [0, 1]),
    (["1", "0"] * 4, None, *GENERIC, [1, 0]),
    (pa.array([1, 0] * 4, pa.uint64()), None, *GENERIC, [1, 0]),
    (["good", "bad"] * 4, None, ["bad", "good"], True, [1, 0]),
    (["good", "bad"] * 4, ["good", "bad"], ["good", "bad"], True, [0, 1]),
    (pa.array(["b", "a"] * 4).dictionary_encode(), None, ["a", "b"], True, [1, 0]),
    ([0, 1] * 4, ["no", "yes", "maybe"], ["no", "yes", "maybe"], True, [0, 1]),
    (["2", "1"] * 4, ["1", "2"], ["1", "2"], True, [1, 0]),
    ([1, 3] * 4, None, [f"LABEL_{k}" for k in range(4)], False, [1, 3]),
]


@pytest.mark.parametrize(("column", "given", "names", "named", "first"), KINDS)
def test_classes(
    write: Write,
    load_written: Load,
    column: Any,
    given: list[str] | None,
    names: list[str],
    named: bool,
    first: list[int],
) -> None:
    for split in ("train", "validation"):
        write(f"{split}.parquet", {**reviews(), "label": column})
    corpus = load_written(TaskConfig(labels=given))
    assert (corpus.labels, corpus.named) == (names, named)
    assert corpus.rows("train").labels(np.arange(2)).tolist() == first


def test_a_class_without_training_rows_is_a_warning(write: Write, load_written: Load) -> None:
    write("train.csv", {"text": ["a", "b", "e"], "label": [1, 2, 1]})
    write("validation.csv", {"text": ["c", "d"], "label": [0, 2]})
    assert load_written().warnings == ["no training row has the label LABEL_0"]


def test_names_in_another_order_than_the_data_brings_are_refused(write: Write, load_written: Load) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_dict(reviews(), features=features)
    for split in ("train", "validation"):
        made.to_parquet(write(f"{split}.parquet", b""))
    assert load_written(TaskConfig(labels=["No", "Yes"])).labels == ["No", "Yes"]
    with pytest.raises(DataError, match=r"its classes are no, yes, in this order; task\.labels has another"):
        load_written(TaskConfig(labels=["yes", "no"]))


def test_numbers_that_are_text_are_values_of_a_regression(write: Write, load_written: Load) -> None:
    for split in ("train", "validation"):
        write(f"{split}.parquet", {**reviews(), "label": ["1", "2.5"] * 4})
    assert load_written("regression").rows("train").labels(np.arange(2)).tolist() == [1.0, 2.5]


def test_names_that_are_numbers_are_names_in_every_format(write: Write, load_written: Load) -> None:
    """Labels of 1 and 2 stars are no class ids; a file without types must not make them some."""
    for suffix in ("csv", "tsv"):
        for split in ("train", "validation"):
            write(f"{split}.{suffix}", {**reviews(), "label": ["2", "1"] * 4})
        files = {split: f"{split}.{suffix}" for split in ("train", "validation")}
        assert load_written(TaskConfig(labels=["1", "2"]), **files).rows("train").labels(np.arange(2)).tolist() == [
            1,
            0,
        ]

"""Rows without labels: where they come from, what is dropped, and that no label of theirs is ever read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from corpus_files import Load, Write, reviews

from raykd.config import DataConfig
from raykd.data.corpus import Corpus
from raykd.errors import DataError


@pytest.fixture(autouse=True)
def written(write: Write) -> None:
    write("train.parquet", reviews(40))
    write("validation.parquet", reviews(6, "scored"))


def unlabeled_texts(corpus: Corpus) -> list[str]:
    return corpus.rows("unlabeled").texts(corpus.ids["unlabeled"])


def refusal(load_written: Load, **keys: Any) -> str:
    with pytest.raises(DataError) as refused:
        load_written(**keys)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_split_of_texts_alone(write: Write, load_written: Load) -> None:
    write("more.csv", {"text": [f"more {k}" for k in range(5)]})
    corpus = load_written(unlabeled="more")
    assert unlabeled_texts(corpus) == [f"more {k}" for k in range(5)]
    rows = corpus.rows("unlabeled")
    assert rows.labels(corpus.ids["unlabeled"]).tolist() == [-1] * 5
    assert not rows.labeled(corpus.ids["unlabeled"]).any()
    assert rows.labeled(corpus.ids["train"]).all()
    assert corpus.source["unlabeled"] == "train"
    assert corpus.rows("train").texts(corpus.ids["train"]) == load_written().rows("train").texts(np.arange(40))


def test_another_source_with_columns_of_its_own(write: Write, load_written: Load) -> None:
    write("train.parquet", {**reviews(40), "domain": ["a", "a", "b", "b"] * 10})
    write("validation.parquet", {**reviews(6, "scored"), "domain": ["a", "b"] * 3})
    path = write("other.jsonl", {"sentence": ["one", "two", "three"], "kind": ["x", "y", "x"]})
    spec = {"source": str(path.parent), "split": "other", "text": "sentence"}
    plain = load_written(unlabeled=spec)
    assert plain.rows("unlabeled").domains(plain.ids["unlabeled"]) == ["(no domain)"] * 3
    named = load_written(unlabeled={**spec, "domain": "kind", "domains": ["x"]}, domains=["a"])
    assert unlabeled_texts(named) == ["one", "three"]
    assert named.rows("unlabeled").domains(named.ids["unlabeled"]) == ["x", "x"]
    assert len(named.ids["train"]) == 20


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_rest_is_what_the_budget_leaves_and_its_labels_are_gone(load_written: Load, kind: str) -> None:
    corpus = load_written(kind, unlabeled="rest", max_train_rows=10)
    assert (len(corpus.ids["train"]), len(corpus.ids["unlabeled"])) == (10, 30)
    assert sorted([*corpus.ids["train"], *corpus.ids["unlabeled"]]) == list(range(40))
    labels = corpus.rows("train").labels(np.arange(40))
    assert {math.isnan(value) or value == -1 for value in labels[corpus.ids["unlabeled"]]} == {True}
    assert labels[corpus.ids["train"]].tolist() == [k % 2 for k in corpus.ids["train"]]
    assert corpus.splits["train"].texts == load_written(kind).splits["train"].texts, "one table of soft targets for all"


def test_their_own_labels_change_nothing(write: Write, load_written: Load) -> None:
    texts = [f"more {k}" for k in range(4)]
    found = []
    for labels in (["good", "bad", None, "?"], [0, 1, 0, 1], [0.5, float("nan"), -1.0, 1e9]):
        write("more.parquet", {"text": texts, "label": labels})
        corpus = load_written(unlabeled="more")
        found.append((corpus.splits, corpus.labels, {name: ids.tolist() for name, ids in corpus.ids.items()}))
    assert found[0] == found[1] == found[2]


def test_texts_that_are_held_out_are_dropped_and_counted(write: Write, load_written: Load) -> None:
    write("test.parquet", reviews(6, "asked"))
    texts = ["scored 1", "new", "asked 5", "review 3", "new too"]
    write("more.parquet", {"text": texts})
    corpus = load_written(unlabeled="more", test="test", quiz=0.25)
    quizzed = set(corpus.rows("quiz").texts(corpus.ids["quiz"]))
    assert unlabeled_texts(corpus) == [
        text for text in texts if text.startswith(("new", "review")) and text not in quizzed
    ]
    assert corpus.dropped == 2 + ("review 3" in quizzed)
    assert any("2 rows without labels are not used" in warning for warning in corpus.warnings) or corpus.dropped == 3
    write("more.parquet", {"text": ["scored 1", "scored 2"]})
    assert "no row without a label is left" in refusal(load_written, unlabeled="more")


def test_pairs_are_compared_whole(write: Write, load_written: Load) -> None:
    for name, tag in (("train", "review"), ("validation", "scored")):
        write(f"{name}.parquet", {**reviews(6, tag), "text_pair": [f"pair {k}" for k in range(6)]})
    write("more.parquet", {"text": ["scored 1", "scored 1"], "text_pair": ["pair 1", "pair 2"]})
    corpus = load_written(unlabeled="more")
    assert corpus.rows("unlabeled").pairs(corpus.ids["unlabeled"]) == ["pair 2"]
    assert corpus.dropped == 1


def test_a_number_of_them_by_the_seed(write: Write, load_written: Load) -> None:
    write("more.parquet", {"text": [f"more {k}" for k in range(50)]})
    some = [load_written(unlabeled={"split": "more", "max_rows": 20}, seed=seed) for seed in (0, 0, 1)]
    assert [len(corpus.ids["unlabeled"]) for corpus in some] == [20] * 3
    assert unlabeled_texts(some[0]) == unlabeled_texts(some[1]) != unlabeled_texts(some[2])
    assert some[0].splits == some[2].splits


def test_quiz_and_reward_of_files_of_their_own(write: Write, load_written: Load) -> None:
    write("clean.parquet", reviews(8, "clean"))
    write("more.parquet", {"text": ["clean 3", "more"]})
    corpus = load_written(quiz="clean", unlabeled="more")
    rows = corpus.rows("quiz")
    assert rows.texts(corpus.ids["quiz"]) == reviews(8, "clean")["text"]
    assert rows.labels(corpus.ids["quiz"]).tolist() == reviews(8, "clean")["label"]
    assert (len(corpus.ids["train"]), unlabeled_texts(corpus)) == (40, ["more"])
    assert not set(corpus.ids["quiz"]) & set(corpus.ids["train"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"unlabeled": "rest"}, "unlabeled: rest is what max_train_rows or fraction leave"),
        ({"unlabeled": "train"}, "unlabeled: train has the rows with labels"),
        ({"test_from_train": 0.1, "test": "test"}, "test_from_train: there is a test split already"),
        ({"validation_from_train": 0.5, "test_from_train": 0.3, "quiz": 0.2}, "together leave no rows to train on"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataConfig(source="folder", **keys)


def test_a_mistake_names_the_section(write: Write, load_written: Load) -> None:
    assert "no file of the split 'nosuch'" in refusal(load_written, unlabeled="nosuch")
    write("more.parquet", {"sentence": ["a"]})
    said = refusal(load_written, unlabeled="more")
    assert "more.parquet: no column 'text' for data.unlabeled.text" in said
    write("more.parquet", {"text": ["a", " "]})
    assert "more.parquet, column 'text', row 2: the text is empty" in refusal(load_written, unlabeled="more")
    write("more.parquet", {"text": ["a"], "text_pair": ["b"]})
    assert "set data.text_pair" in refusal(load_written, unlabeled="more")

"""Groups of rows: on one side of every holdout, as near to the shares as they allow, and as ever without them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from corpus_files import Load, Write, reviews

from raykd.data.containment import words
from raykd.data.corpus import Corpus
from raykd.errors import DataError

SHARES = {"validation_from_train": 0.2, "test_from_train": 0.1, "quiz": 0.1, "reward": 0.1}
DRAWN = ("validation", "test", "quiz", "reward")


def columns(rows: int = 1000, groups: int = 60) -> dict[str, list[Any]]:
    """Rows of groups of 1 to about 35 rows, a third of them with the label 1; two domains."""
    rng = np.random.default_rng(1)
    group = rng.choice(groups, rows, p=rng.dirichlet(np.full(groups, 2.0)))
    labels = rng.random(groups)[group] < 1 / 3
    return {
        "text": [f"row {k} of {group[k]}" for k in range(rows)],
        "label": labels.astype(int).tolist(),
        "domain": ["a", "b"] * (rows // 2),
        "document": [f"d{k}" for k in group],
    }


def group_of(corpus: Corpus, signal: str, table: dict[str, list[Any]]) -> set[str]:
    number_of = dict(zip(table["text"], table["document"], strict=True))
    return {number_of[text] for text in corpus.rows(signal).texts(corpus.ids[signal])}


def test_without_groups_the_draw_is_what_it_was(write: Write, load_written: Load) -> None:
    """The digest is of the ids that were drawn before there were groups."""
    domains = ["a"] * 600 + ["b"] * 400
    labels = [int(k % 5 == 0) for k in range(600)] + [k % 2 for k in range(400)]
    table = {"text": [f"row {k}" for k in range(1000)], "label": labels, "domain": domains}
    write("train.parquet", table)
    rest = {"max_train_rows": 500, "unlabeled": {"split": "rest", "max_rows": 300}, "seed": 3}
    corpus = load_written(**SHARES, **rest)
    digest = hashlib.sha256()
    for signal in sorted(corpus.ids):
        digest.update(signal.encode() + corpus.ids[signal].tobytes())
    digest.update(corpus.teachable.tobytes())
    assert digest.hexdigest() == "60c2ac8b0f0f64933736bd4c6e431fb6265693deb18b77d9bb7ed6e7e0bfeae3"
    assert corpus.groups is None


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_no_group_of_a_column_is_on_two_sides(write: Write, load_written: Load, suffix: str) -> None:
    table = columns()
    write(f"train.{suffix}", table)
    corpus = load_written(**SHARES, group="document")
    parts = {signal: group_of(corpus, signal, table) for signal in ("train", *DRAWN)}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(set(table["document"]))
    assert sorted(np.concatenate(list(corpus.ids.values()))) == list(range(1000))
    for signal, share in zip(DRAWN, SHARES.values(), strict=True):
        assert len(corpus.ids[signal]) == pytest.approx(1000 * share, abs=18), signal  # half of a large group
        assert corpus.rows(signal).labels(corpus.ids[signal]).mean() == pytest.approx(1 / 3, abs=0.15), signal
    assert corpus.groups is not None
    assert corpus.groups.total == len(set(table["document"]))
    again, other = load_written(**SHARES, group="document"), load_written(**SHARES, group="document", seed=1)
    assert all(np.array_equal(corpus.ids[signal], again.ids[signal]) for signal in parts)
    assert not np.array_equal(corpus.ids["validation"], other.ids["validation"])
    alone = load_written(validation_from_train=0.2, group="document")
    assert np.array_equal(alone.ids["validation"], corpus.ids["validation"]), "a later part changes no earlier one"


def test_rows_beyond_the_budget_leave_with_their_group(write: Write, load_written: Load) -> None:
    """The budget is a draw of rows; what is held out of it takes the rest of its groups out of what is learnt from."""
    table = columns()
    write("train.parquet", table)
    keys = {"max_train_rows": 100, "unlabeled": "rest", "validation_from_train": 0.2}
    corpus = load_written(**keys, group="document")
    held_out = group_of(corpus, "validation", table)
    assert not held_out & (group_of(corpus, "train", table) | group_of(corpus, "unlabeled", table))
    assert not {table["document"][k] for k in corpus.teachable} & held_out
    gone = sum(group in held_out for group in table["document"]) - len(corpus.ids["validation"])
    assert corpus.dropped == gone > 0
    assert len(corpus.teachable) == 1000 - gone - len(corpus.ids["validation"])
    budget = np.sort(np.concatenate([corpus.ids["train"], corpus.ids["validation"]]))
    whole = load_written(max_train_rows=100, validation_from_train=0.3)
    assert np.array_equal(budget, np.sort(np.concatenate([whole.ids["train"], whole.ids["validation"]])))


def test_the_file_of_the_rows_does_not_depend_on_groups(write: Write, load_written: Load) -> None:
    write("train.parquet", columns())
    write("validation.parquet", reviews(6, "scored") | {"domain": ["a"] * 6})
    assert load_written(group="document").splits == load_written().splits == load_written(group="contained").splits


def phrases(rng: np.random.Generator, sentences: int) -> dict[str, list[Any]]:
    """Sentences of words of their own and a few that all share, and phrases of them."""
    texts = []
    for k in range(sentences):
        sentence = list(rng.permutation([f"w{k}x{n}" for n in range(8)] + ["good", "film", "a"]))
        texts.append(" ".join(sentence))
        starts = rng.integers(0, 9, 6)
        texts += [" ".join(sentence[at : at + rng.integers(1, 6)]).title() for at in starts]
    texts = [texts[k] for k in rng.permutation(len(texts))]
    return {"text": texts, "label": (np.arange(len(texts)) % 2).tolist()}


def stands_inside(texts: list[str], others: list[str]) -> int:
    padded = [f" {' '.join(words(text))} " for text in others]
    return sum(any(f" {' '.join(words(text))} " in other for other in padded) for text in texts)


def test_no_text_that_is_held_out_stands_inside_one_that_is_learnt(write: Write, load_written: Load) -> None:
    write("train.parquet", phrases(np.random.default_rng(0), 60))
    keys = {**SHARES, "max_train_rows": 300, "unlabeled": "rest"}
    for group in (None, "contained"):
        corpus = load_written(**keys, group=group)
        texts = {signal: corpus.rows(signal).texts(ids) for signal, ids in corpus.ids.items()}
        learnt = {"quiz": texts["train"] + texts["unlabeled"]}
        learnt["reward"], learnt["validation"] = learnt["quiz"], learnt["quiz"] + texts["quiz"] + texts["reward"]
        learnt["test"] = learnt["validation"]
        counted = {signal: stands_inside(texts[signal], learnt[signal]) for signal in DRAWN}
        assert corpus.inside == counted
        if group is None:
            assert counted["validation"] > 20
            assert any("validation rows stand inside a training row" in warning for warning in corpus.warnings)
        else:
            assert set(counted.values()) == {0}
            assert corpus.groups is not None
            assert corpus.groups.bound.sum() > 10  # `good`, `film`, `a`
            assert not any("stand inside" in warning for warning in corpus.warnings)
            teachers_own = corpus.rows("train").texts(corpus.teachable)
            assert stands_inside(texts["validation"], teachers_own) == 0
        for signal, share in zip(DRAWN, SHARES.values(), strict=True):
            assert len(texts[signal]) == pytest.approx(300 * share, abs=4)


def test_pairs_stand_inside_with_both_texts(write: Write, load_written: Load) -> None:
    rows = 40
    table: dict[str, list[Any]] = {"text": [], "text_pair": [], "label": []}
    for k in range(rows):
        table["text"] += [f"first w{k} text", f"w{k}", "first"]
        table["text_pair"] += [f"second v{k} text", f"v{k} text", f"v{k}"]
        table["label"] += [0, 1, k % 2]
    write("train.parquet", table)
    corpus = load_written(validation_from_train=0.3, group="contained")
    assert corpus.groups is not None
    assert corpus.groups.total == rows
    number = corpus.groups.number.reshape(rows, 3)
    assert (number == number[:, :1]).all()
    assert corpus.inside == {"validation": 0}


def test_folds_are_of_whole_groups(write: Write, load_written: Load) -> None:
    write("train.parquet", columns())
    write("validation.parquet", reviews(6, "scored") | {"domain": ["a"] * 6})
    groups = load_written(group="document").groups
    assert groups is not None
    ids = np.arange(0, 1000, 2)
    fold = groups.folds(ids, 4, 0)
    for number in np.unique(groups.number[ids]):
        assert len(set(fold[groups.number[ids] == number])) == 1
    assert np.bincount(fold) == pytest.approx([125] * 4, abs=15)
    assert not np.array_equal(fold, groups.folds(ids, 4, 1))
    with pytest.raises(DataError, match="70 folds of 59 groups"):
        groups.folds(np.arange(1000), 70, 0)


@pytest.mark.parametrize(
    ("change", "keys", "message"),
    [
        (
            {},
            {"group": "documnet"},
            r"no column 'documnet' for data.group \(did you mean data.group=document; its columns are text",
        ),
        ({"document": [None, *["a"] * 999]}, {"group": "document"}, "column 'document', row 1: the group is missing"),
        ({"document": [0.5] * 1000}, {"group": "document"}, "holds double, no names"),
        ({"document": ["a"] * 1000}, {"group": "document", "quiz": 0.1}, "no whole groups make about so many"),
    ],
)
def test_groups_that_cannot_be(
    write: Write, load_written: Load, change: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    write("train.parquet", {**columns(), **change})
    write("validation.parquet", reviews(6, "scored") | {"domain": ["a"] * 6})
    with pytest.raises(DataError, match=message) as refused:
        load_written(**keys)
    assert "\n" not in str(refused.value)


def test_rows_without_labels_may_have_no_column_of_groups(write: Write, load_written: Load) -> None:
    table = columns()
    write("train.parquet", table)
    write("more.parquet", {"text": ["other", "and another"]})
    write("grouped.parquet", {"text": ["other", "and another"], "document": [table["document"][0], "new"]})
    keys = {"validation_from_train": 0.3, "group": "document"}
    assert len(load_written(**keys, unlabeled="more").ids["unlabeled"]) == 2
    seeds = [load_written(**keys, unlabeled="grouped", seed=seed) for seed in range(8)]
    held_out = [table["document"][0] in group_of(corpus, "validation", table) for corpus in seeds]
    assert [len(corpus.ids["unlabeled"]) for corpus in seeds] == [1 if held else 2 for held in held_out]
    assert {True, False} == set(held_out)

"""Held-out parts: disjoint, stratified, fixed by the seed, and the same whatever else is carved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus_files import Load, Write

from raykd.data.corpus import Corpus

PARTS = ("train", "validation", "quiz", "reward")
CARVED = {"validation_from_train": 0.2, "quiz": 0.1, "reward": 0.1}


@pytest.fixture
def skewed(write: Write) -> None:
    """1000 rows in two domains; label 1 is a fifth of the first and a half of the second."""
    domains = ["a"] * 600 + ["b"] * 400
    labels = [int(k % 5 == 0) for k in range(600)] + [k % 2 for k in range(400)]
    columns: dict[str, list[Any]] = {"text": [f"row {k}" for k in range(1000)], "label": labels, "domain": domains}
    write("train.parquet", columns)
    write("validation.parquet", {name: column[::10] for name, column in columns.items()})


def strata(corpus: Corpus, signal: str) -> dict[tuple[int, str], int]:
    rows, ids = corpus.rows(signal), corpus.ids[signal]
    kinds = zip(rows.labels(ids).tolist(), rows.domains(ids) or [], strict=True)
    found: dict[tuple[int, str], int] = {}
    for kind in kinds:
        found[kind] = found.get(kind, 0) + 1
    return found


@pytest.mark.usefixtures("skewed")
def test_parts_are_disjoint_complete_and_stratified(load_written: Load) -> None:
    corpus = load_written(**CARVED)
    together = np.concatenate([corpus.ids[part] for part in PARTS])
    assert sorted(together.tolist()) == list(range(1000))
    assert all(np.all(np.diff(corpus.ids[part]) > 0) and corpus.ids[part].dtype == np.int64 for part in PARTS)
    assert corpus.source == dict.fromkeys(PARTS, "train")
    assert "validation" not in corpus.splits  # the published one is not used for anything
    whole = {(0, "a"): 480, (1, "a"): 120, (0, "b"): 200, (1, "b"): 200}
    for part, share in zip(PARTS, (0.6, 0.2, 0.1, 0.1), strict=True):
        assert {kind: pytest.approx(share * count, abs=1) for kind, count in whole.items()} == strata(corpus, part)


@pytest.mark.usefixtures("skewed")
def test_parts_depend_on_the_seed_alone(load_written: Load) -> None:
    first, again, other = (load_written(**CARVED, seed=seed) for seed in (3, 3, 4))
    for part in PARTS:
        assert np.array_equal(first.ids[part], again.ids[part])
        assert not np.array_equal(first.ids[part], other.ids[part])


@pytest.mark.usefixtures("skewed")
def test_a_part_stays_when_a_later_one_is_added(load_written: Load) -> None:
    alone, both = load_written(validation_from_train=0.2), load_written(**CARVED)
    assert np.array_equal(alone.ids["validation"], both.ids["validation"])
    quiz, full = load_written(validation_from_train=0.2, quiz=0.1), both
    assert np.array_equal(quiz.ids["quiz"], full.ids["quiz"])


@pytest.mark.usefixtures("skewed")
def test_the_budget_counts_every_label_and_holdouts_are_shares_of_it(load_written: Load) -> None:
    few = load_written(quiz=0.1, reward=0.2, test_from_train=0.2, fraction=0.5, max_train_rows=100)
    assert {signal: len(ids) for signal, ids in few.ids.items() if signal != "validation"} == {
        "test": 20,
        "quiz": 10,
        "reward": 20,
        "train": 50,
    }
    budget = np.sort(np.concatenate([few.ids[signal] for signal in ("test", "quiz", "reward", "train")]))
    assert np.array_equal(budget, load_written(max_train_rows=100).ids["train"])
    assert strata(load_written(max_train_rows=100), "train") == {(0, "a"): 48, (1, "a"): 12, (0, "b"): 20, (1, "b"): 20}
    assert len(load_written(fraction=0.5).ids["train"]) == 500
    assert len(load_written(max_train_rows=5000).ids["train"]) == 1000


@pytest.mark.usefixtures("skewed")
def test_the_smallest_budget_keeps_both_classes(load_written: Load) -> None:
    corpus = load_written(max_train_rows=2)
    assert corpus.rows("train").labels(corpus.ids["train"]).tolist() in ([0, 1], [1, 0])


@pytest.mark.usefixtures("skewed")
def test_domains_filter_every_split_and_not_the_fingerprint(load_written: Load) -> None:
    only, every = load_written(domains=["b"], test="validation"), load_written()
    assert only.ids["train"].tolist() == list(range(600, 1000))
    for signal in ("train", "validation", "test"):
        assert set(only.rows(signal).domains(only.ids[signal]) or []) == {"b"}
    assert only.splits["train"] == every.splits["train"]


def test_regression_is_stratified_by_quintile(write: Write, load_written: Load) -> None:
    values = np.random.default_rng(0).normal(size=500) ** 3
    write("train.parquet", {"text": [f"row {k}" for k in range(500)], "label": values})
    write("validation.parquet", {"text": ["a", "b"], "label": [0.0, 1.0]})
    corpus = load_written("regression", quiz=0.2)
    edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    quiz = corpus.rows("quiz").labels(corpus.ids["quiz"])
    assert np.bincount(np.searchsorted(edges, quiz)).tolist() == [20] * 5

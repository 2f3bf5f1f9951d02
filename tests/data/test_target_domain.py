"""A target domain: whose rows the signals are, what its teachers may read, and which files in the cache are shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus_files import Columns, Load, Write

from raykd.config import DataConfig
from raykd.data.corpus import Corpus
from raykd.errors import DataError

DOMAINS = ["a", "b", "c"]
SIGNALS = ("train", "unlabeled", "validation", "test", "quiz", "reward")


def rows(count: int, tag: str) -> Columns:
    """Rows of three domains in turn; the labels alternate within each."""
    places = range(count)
    return {
        "text": [f"{tag} {k}" for k in places],
        "label": [k // 3 % 2 for k in places],
        "domain": [DOMAINS[k % 3] for k in places],
    }


@pytest.fixture(autouse=True)
def written(write: Write) -> None:
    write("train.parquet", rows(120, "review"))
    for name, count in (("validation", 30), ("test", 30), ("clean", 12)):
        write(f"{name}.parquet", rows(count, name))


def domains_of(corpus: Corpus, signal: str) -> set[str]:
    return set(corpus.rows(signal).domains(corpus.ids[signal]) or [])


def of_train(domain: str) -> np.ndarray:
    return np.arange(DOMAINS.index(domain), 120, 3)


def test_every_signal_is_of_the_target_domain_and_the_budget_too(load_written: Load) -> None:
    corpus = load_written(
        target_domain="b", test="test", quiz=0.2, reward=0.2, max_train_rows=20, unlabeled="rest", seed=3
    )
    assert {signal: domains_of(corpus, signal) for signal in corpus.ids} == {signal: {"b"} for signal in SIGNALS}
    assert {signal: len(ids) for signal, ids in corpus.ids.items()} == {
        "train": 12, "quiz": 4, "reward": 4, "unlabeled": 20, "validation": 10, "test": 10,
    }  # fmt: skip
    assert not corpus.rows("unlabeled").labeled(corpus.ids["unlabeled"]).any()
    own = np.concatenate([corpus.ids[name] for name in ("train", "quiz", "reward", "unlabeled")])
    assert np.array_equal(np.sort(own), of_train("b"))
    assert len(load_written(target_domain="b", fraction=0.25).ids["train"]) == 10


def test_its_teachers_have_the_budget_and_the_other_domains(load_written: Load) -> None:
    """Neither what is held out nor the target's rows beyond the budget, whatever budget the teacher has."""
    corpus = load_written(target_domain="b", quiz=0.2, max_train_rows=20, unlabeled="rest")
    expected = np.union1d(np.setdiff1d(np.arange(120), of_train("b")), corpus.ids["train"])
    assert np.array_equal(corpus.teacher_train, expected)
    assert np.array_equal(corpus.teachable, expected)
    assert np.array_equal(corpus.teacher_validation, np.arange(30))
    drawn = load_written(target_domain="b", validation_from_train=0.25, test_from_train=0.25)
    assert np.array_equal(drawn.teacher_validation, drawn.ids["validation"])
    assert len(drawn.teacher_train) == 80 + 20
    plain = load_written(quiz=0.2)
    assert np.array_equal(plain.teacher_train, plain.ids["train"])
    assert np.array_equal(plain.teacher_validation, plain.ids["validation"])


def test_quiz_and_reward_of_files_of_their_own(load_written: Load) -> None:
    corpus = load_written(target_domain="c", quiz="clean")
    assert corpus.rows("quiz").texts(corpus.ids["quiz"]) == [f"clean {k}" for k in range(2, 12, 3)]
    assert np.array_equal(corpus.ids["train"], of_train("c"))
    assert np.array_equal(corpus.teacher_train, np.arange(120))


def test_rows_of_other_domains_without_their_labels(load_written: Load, write: Write) -> None:
    """The student has none of their labels, and its teachers have them all the same."""
    spec = {"split": "rest", "domains": DOMAINS}
    corpus = load_written(target_domain="a", max_train_rows=10, unlabeled=spec)
    assert np.array_equal(corpus.ids["unlabeled"], np.setdiff1d(np.arange(120), corpus.ids["train"]))
    assert not corpus.rows("train").labeled(corpus.ids["unlabeled"]).any()
    elsewhere = np.setdiff1d(np.arange(120), of_train("a"))
    assert np.isin(elsewhere, corpus.teacher_train).all()
    whole = load_written(target_domain="a", unlabeled={"split": "rest", "domains": ["b"]})
    assert np.array_equal(whole.ids["unlabeled"], of_train("b"))
    write("more.parquet", {name: column for name, column in rows(30, "more").items() if name != "label"})
    assert domains_of(load_written(target_domain="a", unlabeled="more"), "unlabeled") == {"a"}
    named = load_written(target_domain="a", unlabeled={"split": "more", "domains": ["b", "c"]})
    assert domains_of(named, "unlabeled") == {"b", "c"}


@pytest.mark.parametrize("keys", [{}, {"quiz": 0.2}, {"max_train_rows": 10, "test": "test"}])
def test_the_files_in_the_cache_do_not_depend_on_it(load_written: Load, keys: dict[str, Any]) -> None:
    plain = load_written(**keys)
    for domain in DOMAINS:
        corpus = load_written(target_domain=domain, **keys)
        assert corpus.splits == plain.splits
        every = np.arange(120)
        assert corpus.rows("train").texts(every) == plain.rows("train").texts(every), "an id is the same row"


def test_with_the_rest_soft_targets_are_shared_by_texts(load_written: Load) -> None:
    """The training file has no label of the rest, so it is another file, with the same ids and texts."""
    first, second = (load_written(target_domain=domain, max_train_rows=10, unlabeled="rest") for domain in "ab")
    assert first.splits["loaded"] == second.splits["loaded"]
    assert first.splits["validation"] == second.splits["validation"]
    assert first.splits["train"].texts == second.splits["train"].texts
    assert first.rows("train").texts(np.arange(120)) == second.rows("train").texts(np.arange(120))


def test_without_a_budget_all_targets_have_the_same_rows_for_teachers(load_written: Load) -> None:
    for corpus in [load_written(target_domain=domain) for domain in DOMAINS]:
        assert np.array_equal(corpus.teacher_train, np.arange(120))
        assert np.array_equal(corpus.teacher_validation, np.arange(30))


@pytest.mark.parametrize("by", ["column", "contained"])
def test_a_group_that_is_held_out_is_no_teachers_in_any_domain(write: Write, load_written: Load, by: str) -> None:
    """Row k of each domain is of group k; by texts, those of the other domains stand inside the target's."""
    table = rows(120, "review")
    table["source"] = [f"document {k // 3}" for k in range(120)]
    table["text"] = [f"w{k // 3} v{k // 3}" + (" x y" if k % 3 == 1 else f" {'x' * (k % 3 == 0)}") for k in range(120)]
    write("train.parquet", table)
    corpus = load_written(target_domain="b", quiz=0.25, group="source" if by == "column" else "contained")
    held_out = corpus.ids["quiz"] // 3
    assert len(held_out) == 10
    assert not np.isin(corpus.teacher_train // 3, held_out).any()
    assert len(corpus.teacher_train) == 120 - 30
    assert corpus.groups is not None
    assert corpus.groups.total == 40
    assert corpus.inside["quiz"] == 0


def test_what_is_refused(write: Write, load_written: Load) -> None:
    with pytest.raises(ValueError, match="target_domain: domains filters the rows of the teachers too"):
        DataConfig(source="folder", target_domain="a", domains=["a", "b"])
    table = rows(120, "review")
    table["domain"] = [["books", "kitchen", "dvd"][k % 3] for k in range(120)]
    write("train.parquet", table)
    with pytest.raises(
        DataError, match=r"no row of the domain 'book'.*did you mean books\? its domains are books, dvd"
    ):
        load_written(target_domain="book")
    write("train.parquet", {name: column for name, column in table.items() if name != "domain"})
    with pytest.raises(DataError, match=r"data.target_domain is set, but there is no domain column") as refused:
        load_written(target_domain="books")
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2

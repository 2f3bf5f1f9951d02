"""The ledger gives every row once, the urgent ones first, in packs that fit."""

from __future__ import annotations

import numpy as np

from raykd.teachers.serving.ledger import Ledger


def ledger(rows: int = 200, seed: int = 0) -> Ledger:
    lengths = np.random.default_rng(seed).integers(4, 200, rows).astype(np.int32)
    return Ledger(lengths, np.zeros((rows, 2)))


def drain(book: Ledger, tokens: int = 300) -> list[np.ndarray]:
    packs: list[np.ndarray] = []
    while (ids := book.next_pack(tokens, 64)) is not None:
        book.start(len(packs), ids)
        packs.append(ids)
    return packs


def test_every_announced_row_is_given_once_and_packs_fit() -> None:
    book = ledger()
    wanted = np.random.default_rng(1).permutation(200)[:150]
    book.announce("a", wanted)
    book.announce("b", wanted[::-1])
    packs = drain(book)
    assert sorted(np.concatenate(packs).tolist()) == sorted(wanted.tolist())
    for ids in packs:
        assert len(ids) == 1 or book.cost(ids, 64).max() * len(ids) <= 300


def test_the_rows_that_come_first_are_given_early() -> None:
    """Sorting by length must not send a row that is needed now to the end."""
    book = ledger(2000)
    wanted = np.random.default_rng(1).permutation(2000)
    book.announce("a", wanted)
    given = np.concatenate(drain(book))
    worker = np.empty(2000, int)
    worker[given] = np.arange(2000)
    assert worker[wanted[:5]].max() < 30
    assert np.abs(worker[wanted] - np.arange(2000)).max() < 300


def test_packing_by_length_pads_less_than_the_order_of_need() -> None:
    book = ledger(2000)
    wanted = np.random.default_rng(1).permutation(2000)
    book.announce("a", wanted)
    packed = sum(book.cost(ids, 64).max() * len(ids) for ids in drain(book, 640))
    plain = sum(book.cost(wanted[k : k + 10], 64).max() * 10 for k in range(0, 2000, 10))
    assert packed < 0.9 * plain


def test_urgent_rows_go_first_and_known_ones_not_at_all() -> None:
    book = ledger()
    book.restore(np.arange(50), np.ones((50, 2)))
    book.announce("a", np.arange(200))
    book.want("a", np.array([190, 10, 180]))
    first = book.next_pack(10_000, 64)
    assert first is not None
    assert sorted(first.tolist()) == [180, 190]
    book.start(0, first)
    assert book.missing == 150
    assert sorted(np.concatenate(drain(book)).tolist()) == sorted(set(range(50, 200)) - {180, 190})


def test_a_lost_call_is_given_again_and_the_first_answer_stands() -> None:
    book = ledger()
    book.announce("a", np.arange(20))
    (ids,) = drain(book, 10_000)
    book.fail(ids)
    (again,) = drain(book, 10_000)
    assert sorted(again.tolist()) == sorted(ids.tolist())
    book.finish(again, np.full((20, 2), 1.0))
    book.finish(again, np.full((20, 2), 2.0))
    assert np.all(book.values[np.arange(20)] == 1.0)
    assert book.missing == 0
    assert book.computed == {"a": 20}
    assert sorted(book.unwritten().tolist()) == list(range(20))
    assert len(book.unwritten()) == 0


def test_only_replicas_that_are_lost_count_as_attempts() -> None:
    book = ledger()
    book.announce("a", np.arange(20))
    for k in range(6):
        (ids,) = drain(book, 10_000)
        book.fail(ids, by_replica=k % 2 == 0)
    assert book.attempts[:20].tolist() == [3] * 20


def test_rows_are_counted_for_the_run_that_asked_first() -> None:
    book = ledger()
    book.announce("a", np.arange(10))
    book.announce("b", np.arange(15))
    for ids in drain(book, 10_000):
        book.finish(ids, np.zeros((len(ids), 2)))
    assert book.computed == {"a": 10, "b": 5}


def test_missing_rows_are_counted_on_the_way() -> None:
    """The count that is kept equals the one by its definition after any sequence of calls."""
    rng, book = np.random.default_rng(3), ledger(60)
    under_way: list[np.ndarray] = []
    for step in range(400):
        ids = rng.integers(0, 60, rng.integers(1, 9))
        match int(rng.integers(0, 6)):
            case 0:
                book.announce("a", ids)
            case 1:
                book.want("b", ids)
            case 2 if (pack := book.next_pack(40, 64)) is not None:
                book.start(step, pack)
                under_way.append(pack)
            case 3 if under_way:
                pack = under_way.pop()
                book.finish(pack, np.zeros((len(pack), 2)))
            case 4 if under_way:
                book.fail(under_way.pop())
            case 5 if step % 4 == 0:
                book.forget(np.flatnonzero(book.known)[:2])
        assert book.missing == int((book.announced & ~book.known).sum())
        assert book.announced_rows == int(book.announced.sum())
    assert book.known.any()

"""Texts inside others, against every pair compared as strings."""

from __future__ import annotations

import numpy as np
import pytest

from raykd.data.containment import NONE, SEVERAL, containment, words


def inside(row: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether each text of the row is a part of the other row's, whole words only."""
    return all(f" {' '.join(words(a))} " in f" {' '.join(words(b))} " for a, b in zip(row, other, strict=True))


def only_container(rows: list[tuple[str, ...]], row: tuple[str, ...], among: np.ndarray) -> int:
    """The first row that is equal to the only container that no other contains."""
    alike = [tuple(tuple(words(text)) for text in texts) for texts in rows]
    counted = [k for k in range(len(rows)) if among[k]]
    largest = [k for k in counted if not any(inside(rows[k], rows[j]) and alike[k] != alike[j] for j in counted)]
    found = {alike[k] for k in largest if inside(row, rows[k])}
    if len(found) != 1:
        return SEVERAL if found else NONE
    return alike.index(found.pop())


def corpus(rng: np.random.Generator, rows: int, sides: int) -> list[tuple[str, ...]]:
    """Short rows of three words, so that many stand in others; some have capitals, signs and further spaces."""
    lengths = rng.integers(1, 9 if sides == 1 else 4, size=(rows, sides))
    texts = [[list(rng.choice(["a", "B", "cc"], size)) for size in row] for row in lengths]
    return [tuple(rng.choice([" ", "  ", "\n"]).join(text) + rng.choice(["", "!"]) for text in row) for row in texts]


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_every_pair_compared(sides: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = corpus(rng, 60, sides)
    among = rng.random(60) < (0.4, 1.0)[seed % 2]
    columns = [list(column) for column in zip(*rows, strict=True)]
    found = containment(columns[0], columns[1] if sides == 2 else None)
    expected = [any(inside(row, rows[j]) for j in range(60) if among[j] and j != k) for k, row in enumerate(rows)]
    assert found.inside(among).tolist() == expected
    wanted = np.array([only_container(rows, row, among) for row in rows])
    only = found.only_container(among)
    assert {SEVERAL, NONE} <= set(wanted) or among.all()
    assert np.array_equal(np.where(wanted < 0, wanted, found.number[wanted]), only)
    assert len(np.unique(found.number)) == len({tuple(tuple(words(text)) for text in row) for row in rows})


def test_what_a_word_is() -> None:
    texts = ["good", "A GOOD film", "goodness", "not-good", "a good\tfilm, really", "Straße", "in der STRASSE", "\x1c"]
    found = containment(texts, None)
    every = np.ones(len(texts), dtype=bool)
    assert found.inside(every).tolist() == [True, True, False, False, False, True, False, False]
    number = found.number
    assert found.only_container(every).tolist() == [SEVERAL, number[4], *number[[2, 3, 4, 6, 6, 7]]]

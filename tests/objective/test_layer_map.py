"""Maps of layers against their definitions in exact fractions, and against the papers' examples."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from raykd.objective.layer_map import layer_pairs

DEPTHS = [(student, teacher) for student in range(1, 9) for teacher in range(1, 13)]


def uniform(student: int, teacher: int) -> list[int]:
    """l · T / S to the nearest layer, halves up, and no lower than the first."""
    return [max(1, math.floor(Fraction(layer * teacher, student) + Fraction(1, 2))) for layer in range(1, student + 1)]


@pytest.mark.parametrize(("student", "teacher"), DEPTHS)
def test_uniform_ends_at_the_last_layer_and_reverse_turns_it_round(student: int, teacher: int) -> None:
    theirs = uniform(student, teacher)
    assert layer_pairs("uniform", student, teacher, 0) == tuple(enumerate(theirs, 1))
    assert theirs[-1] == teacher
    assert theirs == sorted(theirs)
    assert layer_pairs("reverse", student, teacher, 0) == tuple(enumerate(reversed(theirs), 1))
    assert layer_pairs("top", student, teacher, 0) == ((student, teacher),)


@pytest.mark.parametrize(("student", "teacher"), DEPTHS)
def test_last_skip_and_random_need_a_teacher_as_deep(student: int, teacher: int) -> None:
    if teacher < student:
        for name in ("last", "skip", "random"):
            message = rf"layers {name}: the student has {student} layers and the teacher {teacher}"
            with pytest.raises(ValueError, match=message):
                layer_pairs(name, student, teacher, 0)
        return
    own = range(1, student + 1)
    assert layer_pairs("last", student, teacher, 0) == tuple((layer, teacher - student + layer) for layer in own)
    assert layer_pairs("skip", student, teacher, 0) == tuple((layer, layer * (teacher // student)) for layer in own)
    drawn = layer_pairs("random", student, teacher, 7)
    assert [mine for mine, _ in drawn] == list(own)
    assert len({its for _, its in drawn}) == student
    assert all(1 <= its <= teacher for _, its in drawn)


def test_the_papers_examples() -> None:
    """TinyBERT's 4 of 12 layers: 3, 6, 9, 12; PKD's 6 of 12: every second from below, and the last ones."""
    assert layer_pairs("uniform", 4, 12, 0) == ((1, 3), (2, 6), (3, 9), (4, 12))
    assert layer_pairs("skip", 6, 12, 0)[:5] == ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))
    assert layer_pairs("last", 6, 12, 0) == ((1, 7), (2, 8), (3, 9), (4, 10), (5, 11), (6, 12))


def test_the_seed_alone_draws_the_random_map() -> None:
    draws = {layer_pairs("random", 4, 12, seed) for seed in range(20)}
    assert len(draws) > 15
    assert layer_pairs("random", 4, 12, 3) == layer_pairs("random", 4, 12, 3)
    assert {its for draw in draws for _, its in draw} == set(range(1, 13)), "every layer is drawn some time"
    assert layer_pairs("random", 4, 12, 2**32 - 1), "the largest seed"


def test_a_map_of_ones_own() -> None:
    assert layer_pairs({2: 6, 1: 3}, 2, 6, 0) == ((1, 3), (2, 6))
    assert layer_pairs({1: 4}, 2, 6, 0) == ((1, 4),)
    with pytest.raises(ValueError, match="the student has 2 layers, layer 3 is asked for"):
        layer_pairs({3: 1}, 2, 6, 0)
    with pytest.raises(ValueError, match="the teacher has 6 layers, layer 7 is asked for"):
        layer_pairs({1: 7}, 2, 6, 0)
    with pytest.raises(ValueError, match="no layer map 'diagonal'"):
        layer_pairs("diagonal", 2, 6, 0)

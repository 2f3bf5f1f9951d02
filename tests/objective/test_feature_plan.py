"""Which inner outputs each term asks of which model."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from raykd.columns import Column
from raykd.config import FeaturesConfig
from raykd.objective.feature_plan import EncoderShape, FeaturePlan, plan_features

SMALL, LARGE = EncoderShape(2, 8, 2), EncoderShape(6, 12, 4)


def plan(student: EncoderShape = SMALL, teacher: EncoderShape = LARGE, **terms: Any) -> FeaturePlan:
    return plan_features(FeaturesConfig.model_validate(terms), student, teacher, 0)


@pytest.mark.parametrize(
    ("terms", "own", "theirs"),
    [
        ({"hidden": 1}, ["hidden.1", "hidden.2"], ["hidden.3", "hidden.6"]),
        ({"embedding": 1}, ["hidden.0"], ["hidden.0"]),
        ({"attention": 1}, ["scores.1.mean", "scores.2.mean"], ["scores.3.mean", "scores.6.mean"]),
        ({"pkd": {"layers": "last"}}, ["first.1", "first.2"], ["first.5", "first.6"]),
        ({"minilm": {"layers": {2: 5}}}, ["key.2", "query.2", "value.2"], ["key.5", "query.5", "value.5"]),
        ({"minilm": 1}, ["key.2", "query.2", "value.2"], ["key.6", "query.6", "value.6"]),
        ({"knowledge": 1}, ["hidden.2"], ["domain.0"]),
        ({"hidden": {"layers": "top"}, "knowledge": 1, "embedding": 1}, ["hidden.0", "hidden.2"],
         ["domain.0", "hidden.0", "hidden.6"]),
    ],
)  # fmt: skip
def test_each_term_asks_for_its_columns(terms: dict[str, Any], own: list[str], theirs: list[str]) -> None:
    made = plan(**terms)
    assert [column.name for column in made.student_columns] == own
    assert [column.name for column in made.teacher_columns] == theirs
    assert list(made.student_columns) == sorted(set(made.student_columns))
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_layer_that_several_match_is_asked_for_once() -> None:
    made = plan(EncoderShape(4, 8, 2), EncoderShape(2, 8, 2), hidden=1, attention=1)
    assert made.pairs["hidden"] == ((1, 1), (2, 1), (3, 2), (4, 2))
    assert [column.name for column in made.teacher_columns] == ["hidden.1", "hidden.2", "scores.1", "scores.2"]


def test_heads_are_compared_one_by_one_where_there_are_as_many() -> None:
    alike = plan(SMALL, EncoderShape(6, 12, 2), attention=1)
    assert alike.student_columns == (Column("scores", 1), Column("scores", 2))
    assert not alike.mean_heads
    assert alike.widths_differ


def test_relation_heads_divide_both_widths() -> None:
    assert plan(minilm=1).relation_heads == 2, "the student's own"
    assert plan(minilm={"heads": 4}).relation_heads == 4
    assert plan(hidden=1).relation_heads == 0
    with pytest.raises(ValueError, match="3 relation heads do not divide the student's width 8"):
        plan(minilm={"heads": 3})
    with pytest.raises(ValueError, match="8 relation heads do not divide the teacher's width 12"):
        plan(minilm={"heads": 8})


def test_the_seed_draws_the_random_map() -> None:
    settings = FeaturesConfig.model_validate({"hidden": {"layers": "random"}, "pkd": {"layers": "random"}})
    made = {plan_features(settings, SMALL, LARGE, seed).pairs["hidden"] for seed in range(10)}
    assert len(made) > 4
    same = plan_features(settings, SMALL, LARGE, 3)
    assert same.pairs["hidden"] == same.pairs["pkd"]

"""Label alignment: columns are put in the task's order by name, and a guess is a warning or an error, never silent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from transformers import BertConfig

from raykd.errors import ModelError
from raykd.models import column_order, model_labels

TASK = ("negative", "neutral", "positive")


def test_every_order_of_names_is_put_in_the_tasks_order() -> None:
    for names in itertools.permutations(TASK):
        order, warning = column_order([name.upper() for name in names], TASK, True, None, "t")
        assert warning is None
        assert tuple(np.array(names)[order]) == TASK


def test_names_of_the_configuration_take_the_place_of_the_models() -> None:
    order, warning = column_order(
        ["LABEL_0", "LABEL_1", "LABEL_2"], TASK, True, ["positive", "negative", "neutral"], "t"
    )
    assert (order, warning) == ([1, 2, 0], None)


def test_generic_names_are_taken_by_their_number_with_a_warning() -> None:
    order, warning = column_order(["LABEL_0", "LABEL_1"], ("negative", "positive"), True, None, "t")
    assert order == [0, 1]
    assert warning is not None
    assert "teachers[].labels" in warning
    assert column_order(["LABEL_1", "LABEL_0"], ("negative", "positive"), True, None, "t")[0] == [1, 0]


def test_a_task_without_names_takes_the_columns_as_they_are_with_a_warning() -> None:
    generic = ("LABEL_0", "LABEL_1")
    order, warning = column_order(["no", "yes"], generic, False, None, "t")
    assert order == [0, 1]
    assert warning is not None
    assert "no, yes" in warning
    assert column_order(None, generic, False, None, "t")[1] is not None
    assert column_order(["no", "yes"], generic, False, ["LABEL_1", "LABEL_0"], "t") == ([1, 0], None)


def test_a_task_that_is_named_label_n_on_purpose_is_matched_by_name() -> None:
    assert column_order(["label_1", "label_0"], ("LABEL_0", "LABEL_1"), True, None, "t") == ([1, 0], None)


def test_classes_that_differ_in_case_alone_are_matched_exactly() -> None:
    assert column_order(["a", "A"], ("A", "a"), True, None, "t") == ([1, 0], None)


def test_a_regression_has_one_column_without_a_name() -> None:
    assert column_order(["LABEL_0"], (), False, None, "t") == ([0], None)
    with pytest.raises(ModelError, match="has 2 classes"):
        column_order(["a", "b"], (), False, None, "t")
    with pytest.raises(ModelError, match="no classes"):
        column_order(["LABEL_0"], (), False, ["a"], "t")


@pytest.mark.parametrize(
    ("columns", "named", "override", "said"),
    [
        (["LABEL_0", "LABEL_1"], True, None, "has 2 classes"),
        (["LABEL_0", "LABEL_1"], False, None, "has 2 classes"),
        (["bad", "so-so", "good"], True, None, "are not the task's"),
        (["LABEL_1", "LABEL_2", "LABEL_3"], True, None, "are not the task's"),
        (["negative", "Negative", "positive"], True, None, "names a class twice"),
        (["LABEL_0", "LABEL_1", "LABEL_2"], True, ["negative", "positive"], "2 names for 3 logit columns"),
        (["LABEL_0", "LABEL_1", "LABEL_2"], True, ["negative", "positive", "good"], "are not the task's"),
        (["negative", "neutral", "positive"], False, ["no", "so", "yes"], "are not the task's"),
    ],
)
def test_what_cannot_be_aligned_is_an_error_that_names_the_key(
    columns: list[str], named: bool, override: list[str] | None, said: str
) -> None:
    task = TASK if named else ("LABEL_0", "LABEL_1", "LABEL_2")
    with pytest.raises(ModelError, match=said) as caught:
        column_order(columns, task, named, override, "teacher0")
    assert "teachers[].labels" in str(caught.value)
    assert str(caught.value).startswith("teacher0")


def test_a_models_names_come_in_the_order_of_its_columns() -> None:
    assert model_labels(BertConfig(id2label={k: f"c{k}" for k in reversed(range(12))})) == [f"c{k}" for k in range(12)]

"""What the section `feedback` refuses, and the quiz that it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_config

from raykd import config as configuration
from raykd.errors import ConfigError

BAD: list[tuple[dict[str, Any], str]] = [
    ({"feedback": "metadistil", "objective": "pseudo_label"}, "pseudo_label has no gradient for teachers"),
    (
        {"weighting": "oracle", "data": {"source": "generated", "max_train_rows": 60, "unlabeled": "rest"}},
        "oracle compares answers with the row's label",
    ),
    ({"baselines": ["quiz_student"]}, "quiz_student is about the quiz of a feedback"),
    ({"baselines": ["quiz_teacher"]}, "quiz_teacher is about the quiz of a feedback, and there is none"),
    (
        {"baselines": ["quiz_teacher"], "feedback": {"type": "ikd", "exam_source": "train"}},
        "quiz_teacher is about the quiz of a feedback",
    ),
    (
        {"baselines": ["quiz_teacher"], "feedback": {"type": "metadistil", "teachers": []}},
        "quiz_teacher trains the teachers of feedback.teachers, and there are none",
    ),
    (
        {"baselines": ["quiz_student"], "feedback": "metadistil", "objective": {"alpha": 1}},
        "baselines: quiz_student is about the labels of the quiz, and objective.alpha=1 reads none: leave it out, or",
    ),
    ({"feedback": {"type": "none", "every": 2}}, "`every` belongs to type metadistil, ikd (this is type: none)"),
    ({"feedback": {"type": "metadistil", "exam_source": "train"}}, "`exam_source` belongs to type ikd"),
    ({"feedback": {"type": "ikd", "rollback": False}}, "`rollback` belongs to type metadistil"),
    ({"feedback": {"type": "ikd", "pilot_lr": 0.1}}, "`pilot_lr` belongs to type metadistil"),
    (
        {"feedback": {"type": "metadistil", "rollback": False, "pilot_lr": 0.1}},
        "pilot_lr has no use with rollback: false",
    ),
    ({"feedback": {"type": "metadistil", "trainable": "("}}, "no regular expression"),
    ({"feedback": {"type": "metadistil", "teachers": ["x"]}}, "no teacher is named 'x': they are teacher0"),
    ({"feedback": {"type": "metadistil", "ranks": 2}}, "2 ranks for 1 student workers"),
    ({"feedback": "metadistil", "objective": {"alpha": 0}}, "the student learns nothing from its teachers"),
    ({"feedback": {"type": "metadistil", "weight": 0}}, "nothing to learn from"),
    ({"feedback": {"type": "metadistil", "evry": 2}}, "every"),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_mistakes_are_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        configuration.parse(tiny_config(changes, Path("unused")))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.status == 2


@pytest.mark.parametrize("changes", [{"objective": {"alpha": 0.99}}, {"weighting": "confidence"}])
def test_labels_of_the_quiz_that_are_read_allow_quiz_student(changes: dict[str, Any]) -> None:
    """By the loss, or by a rule that weighs the teachers by them."""
    base = {"baselines": ["quiz_student"], "feedback": "metadistil", "objective": {"alpha": 1}}
    assert configuration.parse(tiny_config({**base, **changes}, Path("unused"))).baselines == ["quiz_student"]


def test_the_quiz_is_held_out_where_one_is_needed() -> None:
    def share(**changes: Any) -> float | str | None:
        return configuration.parse(tiny_config(changes, Path("unused"))).rows.quiz

    assert share() is None
    assert share(feedback="metadistil") == 0.1
    assert share(feedback="ikd") == 0.1
    assert share(feedback={"type": "ikd", "exam_source": "train"}) is None
    data = {"source": "generated", "quiz": 0.0}
    with pytest.raises(ConfigError, match=r"data\.quiz: feedback needs rows"):
        share(feedback="metadistil", data=data)


def test_a_written_configuration_reads_back(tmp_path: Path) -> None:
    for feedback in ("none", "metadistil", {"type": "ikd", "teacher_ce": 0.5}):
        config = configuration.parse(tiny_config({"feedback": feedback}, Path("unused")))
        configuration.save(config, tmp_path / "config.yaml")
        assert configuration.load(tmp_path / "config.yaml") == config

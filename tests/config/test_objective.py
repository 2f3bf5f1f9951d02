"""What the section `objective` refuses, alone and beside others, and what a task of few classes leaves of a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_TEACHER, tiny_config

from raykd import config as configuration
from raykd.config import DISTConfig, DKDConfig, KLConfig, ObjectiveConfig
from raykd.errors import ConfigError

INFLUENCE = {"type": "policy", "reward": {"type": "influence"}}
TRAIN = {"epochs": 1, "batch_size": 32}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"objective": {"type": "dkd", "target": 0, "non_target": 0}}, "target and non_target are both 0"),
    ({"objective": {"type": "dist", "beta": 0, "gamma": 0}}, "beta and gamma are both 0"),
    ({"objective": {"type": "dist", "temperature": 0}}, "objective.temperature"),
    ({"objective": {"type": "kl", "non_target": 2}}, "`non_target` belongs to type dkd"),
    ({"objective": "dkd", "task": "regression"}, "objective: dkd compares probabilities of classes; a regression has"),
    (
        {"objective": "dist", "task": "regression"},
        "objective: dist compares probabilities of classes; a regression has",
    ),
    (
        {"objective": "dist", "train": {**TRAIN, "gradient_accumulation": 2}},
        "train.gradient_accumulation: dist compares the rows of a whole batch: set it to 1",
    ),
    (
        {"objective": "dist", "feedback": "metadistil", "train": {**TRAIN, "workers": 2}},
        "objective: dist compares rows across workers, and feedback metadistil does not: set train.workers=1",
    ),
    (
        {"objective": "dist", "weighting": INFLUENCE, "train": {**TRAIN, "workers": 2}},
        "objective: dist compares rows across workers, and reward influence does not: set train.workers=1",
    ),
]
GOOD: list[dict[str, Any]] = [
    {"objective": "dist", "train": {**TRAIN, "workers": 2}},
    {"objective": "dist", "feedback": "ikd"},
    {"objective": "dist", "weighting": INFLUENCE},
    {"objective": "dist", "weighting": {"type": "policy", "reward": "r1"}, "train": {**TRAIN, "workers": 2}},
    {"objective": "dkd", "feedback": "metadistil", "train": {**TRAIN, "workers": 2, "gradient_accumulation": 2}},
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_mistakes_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configuration.parse(tiny_config({**changes, "teachers": [TINY_TEACHER]}, Path("unused")))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.status == 2


@pytest.mark.parametrize("changes", GOOD)
def test_what_goes_together(changes: dict[str, Any]) -> None:
    configuration.parse(tiny_config({**changes, "teachers": [TINY_TEACHER]}, Path("unused")))


def test_what_is_left_for_few_classes() -> None:
    useless = {(kind, classes) for kind in ("dkd", "dist", "kl", "mse") for classes in (1, 2, 3)
               if ObjectiveConfig.of(kind).misfit(classes)}  # fmt: skip
    assert useless == {("dkd", 1), ("dkd", 2), ("dist", 1)}
    assert DISTConfig(gamma=0).misfit(2) is not None
    assert DISTConfig(gamma=0).misfit(3) is None
    assert [DISTConfig().left_out(2) is None, DISTConfig(beta=0).left_out(2) is None] == [False, True]
    assert DISTConfig().left_out(3) is None
    assert KLConfig().left_out(2) is None


def test_a_teacher_diverges_from_the_student_at_their_temperature() -> None:
    assert DKDConfig(temperature=3).divergence_temperature == 3
    assert DISTConfig(temperature=4).divergence_temperature == 4

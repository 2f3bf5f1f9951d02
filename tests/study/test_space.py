"""The section `study`: what is refused and how, which keys count, and the same space for Ray Tune and Optuna."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, PopulationBasedTraining
from rich.console import Console
from tiny import Configure

from raykd import api
from raykd.config import IKDConfig, RunConfig
from raykd.display.tables import plan_table
from raykd.errors import ConfigError
from raykd.study import space, tuner

TEMPERATURE = {"objective.temperature": {"loguniform": [1, 10]}}
RATES: dict[str, Any] = {
    "feedback.type": {"choice": ["none", "metadistil", "ikd"]},
    "feedback.teacher_lr": {"loguniform": [1e-6, 1e-4]},
    "feedback.pilot_lr": {"loguniform": [1e-4, 1e-2]},
}


def study(configure: Configure, keys: dict[str, Any], *overrides: str, **settings: Any) -> RunConfig:
    return configure(*overrides, study={"space": keys, **settings})


@pytest.mark.parametrize(
    ("keys", "settings", "said"),
    [
        ({"objective.temprature": {"choice": [1]}}, {}, "did you mean objective.temperature?"),
        ({"objektive.temperature": {"choice": [1]}}, {}, "did you mean objective?"),
        ({"objective.alpha": {"uniform": [0, 1.5]}}, {}, "less than or equal to 1"),
        ({"objective.alpha": {"uniform": [1, 0]}}, {}, "is not below"),
        ({"objective.alpha": {"uniform": [0, 1], "choice": [1]}}, {}, "exactly one of"),
        ({"objective.alpha": [0.1, 0.9]}, {}, "for example {choice: [2, 4]}"),
        ({"train.lr": {"loguniform": [0, 1]}}, {}, "above 0"),
        ({"student.layers": {"choice": [1, "x"]}}, {}, "student.layers: 'x'"),
        ({"data.seed": {"choice": [1]}}, {}, "all trials of a study share it"),
        ({"train.workers": {"choice": [1, 2]}}, {}, "all trials of a study share it"),
        ({"seed": {"randint": [0, 3]}}, {"searcher": "grid"}, "listed values"),
        ({"seed": {"grid": [0, 3]}}, {}, "grid needs searcher: grid"),
        ({"student.layers": {"choice": [1, 2]}}, {"scheduler": "pbt"}, "shapes, rows or seeds"),
        ({"seed": {"choice": [1, 2]}}, {"scheduler": "pbt"}, "shapes, rows or seeds"),
        ({"train.batch_size": {"choice": [8]}}, {"scheduler": "pbt"}, "shapes, rows or seeds"),
        (TEMPERATURE, {"minimize": "parameters"}, "two aims need searcher: optuna"),
        (TEMPERATURE, {"metric": "pearson"}, "pearson does not fit classification"),
        ({}, {}, "at least one key"),
    ],
)
def test_a_mistake_is_one_line_with_the_mend(
    configure: Configure, keys: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match="study") as error:
        study(configure, keys, **settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_feedback_keys_count_only_where_feedback_is_on(configure: Configure) -> None:
    config = study(configure, RATES, trials=40)
    points = space.sample(config)
    assert {params["feedback.type"] for params in points} == {"none", "metadistil", "ikd"}
    wanted = {
        "none": {"feedback.type"},
        "metadistil": {"feedback.type", "feedback.teacher_lr", "feedback.pilot_lr"},
        "ikd": {"feedback.type", "feedback.teacher_lr"},
    }
    for params in points:
        assert set(params) == wanted[params["feedback.type"]]
        trial = space.trial_config(space.shared_rows(config), params, "t")
        assert trial.feedback.type == params["feedback.type"]
        assert trial.study is None
    assert space.sample(config) == points  # of study.seed alone


def test_a_type_that_is_switched_off_takes_its_settings_with_it(configure: Configure) -> None:
    base = ["feedback={type: metadistil, every: 4, pilot_lr: 1.0e-3}", "weighting={type: policy, lr: 0.1}"]
    keys = {"feedback.type": {"choice": ["none", "ikd"]}, "weighting": {"choice": ["uniform", "confidence"]}}
    config = study(configure, keys, *base)
    off = space.trial_config(config, {"feedback.type": "none", "weighting": "confidence"}, "t")
    assert (off.feedback.type, off.weighting.type) == ("none", "confidence")
    ikd = space.trial_config(config, {"feedback.type": "ikd", "weighting": "uniform"}, "t")
    assert isinstance(ikd.feedback, IKDConfig)
    assert (ikd.feedback.type, ikd.feedback.every) == ("ikd", 4)


def test_a_grid_has_every_point_once(configure: Configure) -> None:
    keys = {
        "feedback.type": {"grid": ["none", "ikd"]},
        "feedback.teacher_lr": {"grid": [1e-6, 1e-5, 1e-4]},
        "objective.alpha": {"grid": [0.5, 0.9]},
    }
    points = space.grid(study(configure, keys, searcher="grid"))
    assert len(points) == 2 + 6  # without feedback its rate is no part of the point


def test_rows_are_held_out_for_all_where_one_trial_needs_them(configure: Configure) -> None:
    assert space.shared_rows(study(configure, TEMPERATURE)).data.quiz is None
    assert space.shared_rows(study(configure, RATES)).data.quiz == 0.1
    keys = {"weighting.type": {"choice": ["uniform", "logistic"]}}
    assert space.shared_rows(study(configure, keys)).data.reward == 0.1
    whole = {"feedback": {"choice": ["none", {"type": "metadistil", "every": 2}]}}
    assert space.shared_rows(study(configure, whole)).data.quiz == 0.1
    assert space.shared_rows(study(configure, RATES, "data.quiz=0.2")).data.quiz == 0.2


def test_a_space_without_a_valid_point_is_refused_before_it_costs_anything(configure: Configure) -> None:
    config = study(configure, {"student.heads": {"grid": [3, 5]}}, searcher="grid")
    with pytest.raises(ConfigError, match=r"no point of it is a valid configuration.*not a multiple of heads 3"):
        space.check(config, space.grid(config))
    space.check(config, [{"student.heads": 3}, {"student.heads": 4}])  # one is: the other becomes a failed trial


def test_optuna_is_asked_for_the_keys_that_count(configure: Configure) -> None:
    keys = {**RATES, "student": {"choice": [{"layers": 1, "hidden_size": 16, "heads": 2}]}, **TEMPERATURE}
    suggest = space.Suggest(study(configure, keys, searcher="optuna"))
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(12):
        trial = asked.ask()
        params = suggest(trial)["params"]
        seen.add(params["feedback.type"])
        assert set(params) == set(trial.params)
        assert 1 <= params["objective.temperature"] <= 10
        assert params["student"]["layers"] == 1
    assert seen == {"none", "metadistil", "ikd"}


def test_ray_tune_draws_within_the_ranges(configure: Configure) -> None:
    keys = {
        "objective.alpha": {"uniform": [0.2, 0.4]},
        "objective.temperature": {"loguniform": [1, 100]},
        "seed": {"randint": [3, 5]},
        "student.layers": {"choice": [1, 2]},
    }
    points = space.sample(study(configure, keys, trials=200))
    columns = {key: np.array([params[key] for params in points]) for key in keys}
    assert columns["objective.alpha"].min() >= 0.2
    assert columns["objective.alpha"].max() <= 0.4
    assert set(columns["seed"]) == {3, 4}
    assert set(columns["student.layers"]) == {1, 2}
    assert abs(np.median(np.log10(columns["objective.temperature"])) - 1) < 0.2  # even in the logarithm


def test_every_scheduler_is_ray_tunes_own(configure: Configure) -> None:
    kinds = {"asha": ASHAScheduler, "median": MedianStoppingRule, "pbt": PopulationBasedTraining, "none": FIFOScheduler}
    for name, kind in kinds.items():
        assert type(tuner.scheduler(study(configure, TEMPERATURE, scheduler=name), rows=240)) is kind


def test_what_pbt_shifts_stays_in_its_range(configure: Configure) -> None:
    config = study(configure, {"objective.alpha": {"uniform": [0.2, 0.9]}}, scheduler="pbt")
    assert config.study is not None
    assert space.bounded({"objective.alpha": 1.08}, config.study.space) == {"objective.alpha": 0.9}


def test_check_tells_what_would_be_searched(configure: Configure) -> None:
    keys = {"objective.alpha": {"grid": [0.1, 0.5]}, "seed": {"grid": [0, 1, 2]}}
    plan = api.check(study(configure, keys, searcher="grid", repeat={"top_k": 2, "seeds": 3}))
    assert (plan["study"]["trials"], plan["study"]["repetitions"]) == (6, 4)
    console = Console(width=160, record=True)
    console.print(plan_table(plan))
    assert "at most 6 trials over objective.alpha, seed (grid, asha)" in console.export_text()

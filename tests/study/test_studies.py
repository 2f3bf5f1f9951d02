"""Whole tiny studies with real Ray Tune: every searcher and scheduler, failures, shared rows, the folder, its page."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from logs import events
from tiny import Configure, easy_rows

from raykd import api, models
from raykd.config import RunConfig
from raykd.errors import ConfigError, Interrupted
from raykd.records.study_result import TrialCounts
from raykd.study import driver

pytestmark = pytest.mark.usefixtures("ray_local")

ALONE = {"top_k": 0}


def study(configure: Configure, keys: dict[str, Any], *overrides: str, **settings: Any) -> RunConfig:
    cache, data = settings.pop("cache", None), settings.pop("data", None)
    defaults = {"scheduler": "none", "repeat": ALONE, "concurrency": 1}
    rows = {} if data is None else {"data": data}
    return configure("train.epochs=1", *overrides, cache=cache, study={"space": keys, **defaults, **settings}, **rows)


def trainable_teachers() -> list[str]:
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    return [name for name in names if "teacher-trainer-" in name]


def test_a_small_study_computes_rows_once_and_keeps_the_best(configure: Configure, tmp_path: Path) -> None:
    keys = {"objective.temperature": {"loguniform": [1, 8]}, "train.lr": {"choice": [1e-3, 1e-2]}}
    config = study(configure, keys, searcher="random", trials=3, cache=tmp_path / "cache")
    api.study(config, tmp_path / "study")
    result = json.loads((tmp_path / "study" / "result.json").read_text(encoding="utf-8"))
    assert result["trials"] == {"done": 3, "stopped": 0, "failed": 0}
    assert result["sharing"]["rows_computed"] == result["teachers"][0]["forwards"] == 240 + 80
    assert result["sharing"]["rows_used"] == 3 * 240  # each trial trains on all of them, for one epoch
    table = pd.read_parquet(tmp_path / "study" / "trials.parquet").set_index("trial")
    assert len(table) == 3
    assert table["latency_ms"].nunique() == 1  # of one shape: measured once
    assert table["param.objective.temperature"].between(1, 8).all()
    assert set(table["param.train.lr"]) <= {1e-3, 1e-2}
    for name, row in table.iterrows():
        trial = json.loads((tmp_path / "study" / "trials" / str(name) / "result.json").read_text(encoding="utf-8"))
        assert trial["value"] == row["value"]
        assert trial["teachers"][0]["rows_computed"] == 0
    assert result["value"] == table["value"].max()
    assert table["value"][result["best"]["trial"]] == result["value"]
    scores = api.evaluate(tmp_path / "study" / "best" / "student", configure(cache=tmp_path / "cache"))
    assert scores["validation"]["accuracy"] == result["value"]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_a_study_of_an_earlier_version_is_resumed(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Its finished trials have the student's answers on validation without arm and split, or none at all."""
    config = study(configure, {"train.lr": {"grid": [1e-2]}}, searcher="grid")

    def stopped(*_: object) -> None:
        raise Interrupted("study", "stopped")

    with monkeypatch.context() as patched:
        patched.setattr(driver, "_keep_best", stopped)
        with pytest.raises(Interrupted):
            api.study(config, tmp_path / "study")
    path = tmp_path / "study" / "trials" / "t00" / "predictions.parquet"
    before = pd.read_parquet(path)
    path.unlink()
    if kept:
        before.drop(columns=["arm", "split"]).to_parquet(path, index=False)
    result = api.study(config, tmp_path / "study", resume=True)
    frame = pd.read_parquet(tmp_path / "study" / "best" / "predictions.parquet")
    assert list(frame.columns) == list(before.columns)
    assert set(zip(frame["arm"], frame["split"], strict=True)) == {
        (arm, "validation") for arm in ("student", "teacher0")
    }
    student = frame[frame["arm"] == "student"].reset_index(drop=True)
    pd.testing.assert_frame_equal(student, before, rtol=1e-5)
    assert (student["prediction"] == student["label"]).mean() == pytest.approx(result.value)


@pytest.mark.slow
def test_a_trial_whose_loss_needs_more_classes_fails_with_the_reason(configure: Configure, tmp_path: Path) -> None:
    """By name alone it is valid; the number of classes is the corpus's."""
    config = study(configure, {"objective.type": {"grid": ["kl", "dkd"]}}, searcher="grid")
    result = api.study(config, tmp_path / "study")
    assert result.trials == TrialCounts(done=1, stopped=0, failed=1)
    table = pd.read_parquet(tmp_path / "study" / "trials.parquet")
    (reason,) = table[table["param.objective.type"] == "dkd"]["reason"]
    assert reason.startswith("objective: dkd compares the classes beside the answer, and of 2 there is one")


@pytest.mark.slow
def test_a_grid_where_some_trials_fail(configure: Configure, tmp_path: Path) -> None:
    keys = {
        "train.lr": {"grid": [2e-3, 1e30]},  # one that ends in NaN
        "student.heads": {"grid": [2, 3]},  # and one that does not divide the width
    }
    twice = {"top_k": 1, "seeds": 2}
    config = study(configure, keys, searcher="grid", repeat=twice, cache=tmp_path / "cache")
    result = api.study(config, tmp_path / "study")
    assert result.trials == TrialCounts(done=1, stopped=0, failed=3)
    table = pd.read_parquet(tmp_path / "study" / "trials.parquet")
    assert len(table) == 4 + 1
    failed = table[table["state"] == "failed"]
    diverged = failed[(failed["param.train.lr"] == 1e30) & (failed["param.student.heads"] == 2)]
    assert diverged["reason"].str.contains("its loss is nan").all()
    assert failed[failed["param.student.heads"] == 3]["reason"].str.contains("not a multiple of heads 3").all()
    # What was shared: 240 + 80 rows, once for all.
    assert result.sharing.rows_computed == 240 + 80
    assert result.teachers[0].forwards == 240 + 80
    assert result.sharing.rows_used >= 2 * 240
    assert list(result.best.runs) == [result.best.trial, f"{result.best.trial}-seed1"]
    assert result.best.deviation == pytest.approx(statistics.stdev(result.best.runs.values()))
    best = tmp_path / "study" / "best"
    model, _ = models.load(best / "student")
    assert model.config.hidden_size == 16
    for name in ("result.json", "report.html", "config.yaml", "predictions.parquet", "student/README.md"):
        assert (best / name).exists(), name
    assert not list((tmp_path / "study").glob("trials/*/student"))
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    for text in ("not a multiple of heads 3", "Search history", "Spread over seeds", "once for 5 trials"):
        assert text in page
    assert list((tmp_path / "study" / "tune").rglob("events.out.tfevents*"))
    stamp = (tmp_path / "study" / "result.json").stat().st_mtime_ns
    assert api.study(config, tmp_path / "study").value == result.value
    assert (tmp_path / "study" / "result.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_asha_stops_a_bad_trial_and_its_fork_ends(configure: Configure, tmp_path: Path) -> None:
    """The good one comes first; the bad one, with a teacher of its own, is stopped at its first evaluation."""
    keys = {"train.lr": {"grid": [1e-2, 1e-9]}}
    config = study(
        configure, keys, "train.epochs=4", "feedback={type: ikd, every: 4, teacher_lr: 1.0e-5}", searcher="grid",
        data=easy_rows(tmp_path), scheduler={"type": "asha", "grace_period": 1, "reduction_factor": 2},
    )  # fmt: skip
    result = api.study(config, tmp_path / "study")
    assert result.trials == TrialCounts(done=1, stopped=1, failed=0)
    table = pd.read_parquet(tmp_path / "study" / "trials.parquet").set_index("trial")
    assert table.loc["t00", "state"] == "done"
    assert table.loc["t01", "state"] == "stopped"
    assert table["evaluations"]["t01"] < 4
    deadline = time.monotonic() + 10
    while trainable_teachers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not trainable_teachers()


@pytest.mark.slow
def test_optuna_with_two_aims_and_feedback_in_some_trials(configure: Configure, tmp_path: Path) -> None:
    keys = {
        "feedback.type": {"choice": ["none", "ikd"]},
        "feedback.teacher_lr": {"loguniform": [1e-6, 1e-4]},
        "student.layers": {"choice": [1, 2]},
    }
    config = study(configure, keys, searcher="optuna", minimize="parameters", trials=4, seed=1)
    result = api.study(config, tmp_path / "study")
    assert result.trials.done == 4
    assert result.front["parameters"]
    trials = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("trials/*/result.json")]
    assert {trial["splits"]["train"]["rows"] for trial in trials} == {216}  # a tenth is the quiz, in all of them
    for event in events(tmp_path / "study", "trial_started"):
        assert ("feedback.teacher_lr" in event.params) == (event.params["feedback.type"] == "ikd")


@pytest.mark.nightly
def test_median_and_random(configure: Configure, tmp_path: Path) -> None:
    keys = {"objective.alpha": {"uniform": [0.1, 0.9]}, "seed": {"choice": [0, 1]}}
    config = study(configure, keys, "train.epochs=2", trials=3, scheduler={"type": "median", "min_trials": 2})
    result = api.study(config, tmp_path / "study")
    assert result.trials.total == 3
    assert result.trials.failed == 0
    assert result.best.deviation is None


@pytest.mark.slow
def test_pbt_hands_students_on(configure: Configure, tmp_path: Path) -> None:
    keys = {"train.lr": {"choice": [1e-9, 1e-2]}, "objective.temperature": {"uniform": [1, 4]}}
    config = study(
        configure, keys, "train.epochs=4", trials=3, seed=3, data=easy_rows(tmp_path),
        scheduler={"type": "pbt", "perturbation_interval": 1, "quantile_fraction": 0.4, "resample_probability": 0.0},
    )  # fmt: skip
    result = api.study(config, tmp_path / "study")
    assert result.trials == TrialCounts(done=3, stopped=0, failed=0)
    started = events(tmp_path / "study", "trial_started")
    points: dict[str, list[Any]] = {}
    for event in started:
        points.setdefault(event.trial, []).append(event.params)
    changed = [name for name, some in points.items() if any(params != some[0] for params in some)]
    assert changed  # somebody took over another's student, with other rates
    for name in changed:
        trial = json.loads((tmp_path / "study" / "trials" / name / "result.json").read_text())
        assert trial["steps"] == 4 * 10  # and went on from its step to the end


@pytest.mark.slow
def test_a_study_needs_a_space_and_an_unfinished_one_its_word(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no section `study`"):
        api.study(configure(), tmp_path / "none")
    keys = {"train.lr": {"grid": [1e30]}}
    config = study(configure, keys, searcher="grid")
    with pytest.raises(Exception, match=r"no trial came to its end; the first: .*its loss is nan"):
        api.study(config, tmp_path / "study")
    with pytest.raises(ConfigError, match=r"holds an unfinished study.*--resume"):
        api.study(config, tmp_path / "study")
    with pytest.raises(ConfigError, match=r"whose study.space.train.lr.grid differs"):
        api.study(study(configure, {"train.lr": {"grid": [1e-3]}}, searcher="grid"), tmp_path / "study", resume=True)

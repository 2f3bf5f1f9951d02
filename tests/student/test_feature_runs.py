"""Whole runs that match features: stored, computed again or in the loop are one student; resumed; workers; refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logs import events, losses
from tiny import TINY_TEACHER, Configure

from raykd import api
from raykd.config import RunConfig
from raykd.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("ray_local")

ALL: dict[str, Any] = {"hidden": 1, "attention": 0.5, "embedding": 1, "pkd": 1, "minilm": 0.1}
TEACHER = {**TINY_TEACHER, "name": "big", "model": {**TINY_TEACHER["model"], "layers": 2, "heads": 4}}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> str:
    """The folder of a teacher of two layers, whose tokenizer the students take."""
    from tiny import tiny_config

    from raykd import config

    raw = tiny_config({"teachers": [TEACHER]}, shared_cache)
    return str(api.teach(config.parse(raw), tmp_path_factory.mktemp("teach"))[0]["folder"])


def with_features(
    configure: Configure, teacher: str, features: dict[str, Any], *overrides: str, **changes: Any
) -> RunConfig:
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "dropout": 0.1, "tokenizer": teacher}
    settings = {"student": student, "teachers": [{"model": teacher, "name": "big"}], **changes}
    return configure(*overrides, objective={"type": "kl", "features": features}, **settings)


@pytest.mark.slow
def test_stored_unstored_and_in_the_loop_are_one_student(configure: Configure, teacher: str, tmp_path: Path) -> None:
    stored = api.distill(with_features(configure, teacher, ALL, baselines=["in_loop"]), tmp_path / "stored")
    unstored = api.distill(with_features(configure, teacher, {**ALL, "store_mb": 0}), tmp_path / "unstored")
    assert stored.features is not None
    assert unstored.features is not None
    assert (stored.features.stored, unstored.features.stored) == (True, False)
    assert stored.features.columns == [
        "first.2", "hidden.0", "hidden.2", "key.2", "query.2", "scores.2.mean", "value.2",
    ]  # fmt: skip
    np.testing.assert_allclose(losses(tmp_path / "unstored"), losses(tmp_path / "stored"), rtol=1e-4)
    in_loop = losses(tmp_path / "stored" / "baselines" / "in_loop")
    np.testing.assert_allclose(in_loop, losses(tmp_path / "stored"), rtol=1e-4)
    steps = events(tmp_path / "stored", "step")
    assert steps[-1].features < steps[0].features
    for step in steps:
        assert step.loss == pytest.approx(0.5 * step.soft + 0.5 * step.hard + step.features, rel=1e-5)
    again = api.distill(with_features(configure, teacher, ALL), tmp_path / "again")
    assert again.features is not None
    assert again.features.rows_computed == 0
    assert losses(tmp_path / "again") == losses(tmp_path / "stored")
    saved = json.loads((tmp_path / "stored" / "student" / "config.json").read_text(encoding="utf-8"))
    assert "raykd_capture" not in json.dumps(saved)


@pytest.mark.slow
def test_a_resumed_run_has_its_projections_back(
    configure: Configure, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the second evaluation and started again: every loss and weight as in the run that was not."""
    config = with_features(configure, teacher, ALL, "train.eval_every=4")
    api.distill(config, tmp_path / "whole")
    stop_after(monkeypatch, 9)
    with pytest.raises(Interrupted):
        api.distill(config, tmp_path / "stopped")
    monkeypatch.undo()
    api.distill(config, tmp_path / "stopped")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    for name in ("whole", "stopped"):
        assert (tmp_path / name / "student" / "model.safetensors").exists()
    mine, theirs = ((tmp_path / name / "student" / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert mine == theirs


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Asks the student to stop once it has made so many steps."""
    from raykd.training.loop import TrainLoop

    original = TrainLoop._stop_asked

    def asked(self: TrainLoop, now: int) -> bool:
        return now + 1 >= step if self.job.name == "student" else original(self, now)

    monkeypatch.setattr(TrainLoop, "_stop_asked", asked)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_workers_and_micro_batches_change_nothing(
    stages: int, configure: Configure, teacher: str, tmp_path: Path
) -> None:
    """In a first stage of features alone the classifier has no gradient, on one worker or on two."""
    exact = ["train.precision=float64", "teachers.0.precision=float64", "student.dropout=0", "train.epochs=1"]
    series = {}
    for name, more in (
        ("one", []), ("two", ["train.workers=2"]), ("parts", ["train.gradient_accumulation=3"]),
    ):  # fmt: skip
        api.distill(with_features(configure, teacher, {**ALL, "stages": stages}, *exact, *more), tmp_path / name)
        series[name] = losses(tmp_path / name)
    np.testing.assert_allclose(series["two"], series["one"], rtol=1e-8)
    np.testing.assert_allclose(series["parts"], series["one"], rtol=1e-8)


@pytest.mark.slow
def test_features_come_first_and_logits_then(configure: Configure, teacher: str, tmp_path: Path) -> None:
    config = with_features(configure, teacher, {"hidden": 1, "stages": 2, "first_stage": 0.25})
    api.distill(config, tmp_path / "run")
    steps = events(tmp_path / "run", "step")
    first, second = steps[:4], steps[4:]
    assert all(step.loss == pytest.approx(step.features) for step in first)
    assert all(step.features is None and step.loss == pytest.approx((step.soft + step.hard) / 2) for step in second)


def test_what_cannot_be_matched_is_refused(configure: Configure, teacher: str, tmp_path: Path) -> None:
    own = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300}
    with pytest.raises(ConfigError, match="teacher big: has another tokenizer than the student"):
        api.distill(with_features(configure, teacher, {"hidden": 1}, student=own), tmp_path / "tokens")
    assert api.check(with_features(configure, teacher, {"pkd": 1}, student=own))["features"]["stored"]
    with pytest.raises(ConfigError, match="the teacher has 2 layers, layer 3 is asked for"):
        api.check(with_features(configure, teacher, {"hidden": {"layers": {1: 3}}}))
    with pytest.raises(ConfigError, match="cuts rows at 16 tokens and the student at 24"):
        api.check(with_features(configure, teacher, {"hidden": 1}, "teachers.0.max_length=16"))
    with pytest.raises(ConfigError, match="3 relation heads do not divide the student's width 16"):
        api.check(with_features(configure, teacher, {"minilm": {"heads": 3}}))
    for features, overrides, message in (
        ({"hidden": 1}, ["feedback=metadistil"], "teachers that learn by feedback"),
        ({"hidden": 1, "teacher": "small"}, [], "no teacher is named 'small': big"),
        ({}, [], "no term is set"),
        ({"hidden": 1, "stages": 2}, ["train.early_stopping_patience=2"], "early_stopping_patience"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_features(configure, teacher, features, *overrides)


@pytest.mark.nightly
def test_a_study_searches_layer_maps_and_weights(configure: Configure, teacher: str, tmp_path: Path) -> None:
    """Trials of the study's own layers read what it has stored; one of another map calls the teacher itself."""
    config = with_features(
        configure, teacher, {"hidden": 1},
        study={
            "space": {
                "objective.features.hidden.weight": {"grid": [0.1, 1.0]},
                "objective.features.hidden.layers": {"grid": ["uniform", {1: 1}]},
            },
            "searcher": "grid", "scheduler": "none", "repeat": {"top_k": 0},
        },
    )  # fmt: skip
    result = api.study(config, tmp_path / "study")
    assert (result.trials.done, result.trials.failed) == (4, 0)
    for weight in (0.1, 1.0):
        raw = {"hidden": {"weight": weight, "layers": {1: 1}}}
        api.distill(with_features(configure, teacher, raw), tmp_path / f"run-{weight}")
    series = [losses(folder) for folder in sorted((tmp_path / "study" / "trials").iterdir())]
    for weight in (0.1, 1.0):
        alone = losses(tmp_path / f"run-{weight}")
        assert any(np.allclose(alone, trial, rtol=1e-4) for trial in series)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["feedback=metadistil", "objective.features=null"],
        ["weighting={type: policy, student_warmup: 2, update_every: 2, reward: {type: influence, every: 2}}"],
    ],
    ids=["feedback", "policy"],
)
def test_a_meta_teacher_learns_and_is_chosen(configure: Configure, tmp_path: Path, more: list[str]) -> None:
    """It may learn by feedback, and be one of a policy's teachers while the student matches its features."""
    meta = {**TINY_TEACHER, "name": "meta", "prepare": "meta"}
    folder = api.teach(configure(teachers=[meta]), tmp_path / "teach")[0]["folder"]
    tokenizer = str(folder)
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "dropout": 0.1, "tokenizer": tokenizer}
    features = {"hidden": 1, "knowledge": 0.5, "expertise": True, "teacher": "meta"}
    given = [{"name": "meta", "model": tokenizer}, {**TINY_TEACHER, "name": "other"}]
    config = configure(*more, teachers=given, student=student, objective={"type": "kl", "features": features})
    result = api.distill(config, tmp_path / "run")
    assert result.teachers[0].prototypes is not None
    if result.features is not None:
        assert result.features.columns == ["domain.0", "hidden.1"]
    else:
        assert result.feedback is not None
        assert {teacher.name for teacher in result.teachers} == {"meta", "other"}

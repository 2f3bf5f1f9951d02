"""The plan says what a run will really do."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_TEACHER, Configure

from raykd import api, models
from raykd.config import ModelConfig, WeightingConfig
from raykd.data.tasks import Task
from raykd.errors import ConfigError, DataError, ModelError

TASK = Task("classification", "accuracy", ("negative", "positive"))


def test_the_plan_counts_what_the_run_builds(configure: Configure, tmp_path: Path) -> None:
    deep = ModelConfig(layers=4, hidden_size=32, heads=2, vocab_size=200)
    model, tokenizer = models.build(deep, TASK, ["some words to learn from", "and a few more"], 0, 24)
    models.save(model, tokenizer, tmp_path / "deep")
    config = configure(f"student={{from: {tmp_path / 'deep'}, layers: 2}}", "train.max_steps=5")
    cut, _ = models.build(config.student, TASK, None, 0, 24)
    plan = api.check(config)
    assert plan["student"]["parameters"] == sum(p.numel() for p in cut.parameters())
    assert plan["student"]["steps"] == 5
    assert plan["rows"] == {"train": 240, "validation": 80}
    assert plan["teachers"][0]["prepare"] == "finetune"


def test_a_teacher_of_other_classes_is_refused_before_anything_runs(configure: Configure, tmp_path: Path) -> None:
    three = Task("classification", "accuracy", ("a", "b", "c"))
    spec = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=200)
    model, tokenizer = models.build(spec, three, ["some words to learn from"], 0, 24)
    models.save(model, tokenizer, tmp_path / "three")
    with pytest.raises(ModelError, match=r"3 classes \(a, b, c\)"):
        api.check(configure(teachers=[str(tmp_path / "three")]))
    with pytest.raises(ModelError, match="layers"):
        api.check(configure(f"student={{from: {tmp_path / 'three'}, layers: [0, 7]}}"))


def test_a_fresh_model_is_counted_as_it_is_built(configure: Configure) -> None:
    config = configure()
    letters = np.random.default_rng(0).choice(list("abcdefghij"), (400, 6))
    texts = [f"{word} {word}" for word in map("".join, letters)]
    model, tokenizer = models.build(config.student, TASK, texts, 0, 24)
    assert len(tokenizer) == config.student.vocab_size
    assert api.check(config)["student"]["parameters"] == sum(p.numel() for p in model.parameters())


def test_a_baseline_is_planned_on_the_rows_that_it_trains_on(configure: Configure) -> None:
    plan = api.check(configure("data.reward=0.25", "train.batch_size=10", baselines=["alone", "oracle", "best"]))
    assert plan["rows"]["train"] == 180
    assert {name: arm["steps_per_epoch"] for name, arm in plan["baselines"].items()} == {
        "alone": 24, "oracle": 24, "best": 18,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("baselines", "rows"),
    [
        ([], 120),
        (["alone"], 120),
        (["in_loop"], 120),
        (["quiz_teacher"], 120),
        (["best"], 240),
        (["quiz_student"], 240),
    ],
)
def test_a_teacher_is_planned_for_the_rows_of_student_and_baselines(
    configure: Configure, baselines: list[str], rows: int
) -> None:
    """120 rows are the student's, 60 the quiz, 60 the reward split, which a fitted rule asks for too."""
    config = configure("data.quiz=0.25", "data.reward=0.25", "feedback=metadistil", baselines=baselines)
    plan = api.check(config)
    assert (plan["rows"]["train"], plan["rows"]["quiz"], plan["rows"]["reward"]) == (120, 60, 60)
    assert plan["teachers"][0]["rows"] == rows


@pytest.mark.parametrize("place", [{"weighting": "oracle"}, {"baselines": ["oracle"]}])
def test_an_implementation_that_cannot_be_loaded_is_known_at_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, place: dict[str, object]
) -> None:
    config = configure(**place)
    monkeypatch.setattr(WeightingConfig.types()["oracle"], "implementation", "no_such_package.rules:Oracle")
    with pytest.raises(ConfigError, match=r"implementation 'no_such_package.rules:Oracle' cannot be loaded"):
        api.check(config)


def test_a_loss_of_more_classes_than_there_are_is_refused_and_one_that_loses_a_term_says_so(
    configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"objective: dkd compares the classes beside the answer, and of 2 there is"):
        api.check(configure(objective="dkd"))
    with pytest.raises(ConfigError, match=r"objective: dist has the term of beta alone, which is constant for two"):
        api.check(configure(objective={"type": "dist", "gamma": 0}))
    with pytest.raises(ConfigError, match=r"dkd compares the classes beside the answer"):
        api.distill(configure(objective="dkd"), tmp_path / "run")
    (warning,) = api.check(configure(objective="dist"))["warnings"]
    assert warning == "objective dist: the term of beta is constant for two classes and left out"
    assert api.check(configure(objective={"type": "dist", "beta": 0}))["warnings"] == []
    assert api.check(configure(objective="kl"))["warnings"] == []


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A classifier of three layers and 24 positions."""
    spec = ModelConfig(layers=3, hidden_size=32, heads=2, vocab_size=200)
    model, tokenizer = models.build(spec, TASK, ["some words to learn from", "and a few more"], 0, 24)
    models.save(model, tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_the_plan_counts_groups_and_refuses_more_folds_than_there_are(configure: Configure) -> None:
    plan = api.check(configure("data.group=domain", "data.quiz=0.4", "data.generated.domains=4"))
    assert plan["groups"]["by"] == "domain"
    assert plan["groups"]["groups"] == 4
    assert 0 < plan["rows"]["quiz"] < 240
    assert set(plan["groups"]["inside"]) == {"validation", "quiz"}
    assert api.check(configure())["groups"] is None
    weighting = {"type": "policy", "cross_fit": 5}
    with pytest.raises(DataError, match="5 folds of 4 groups"):
        api.check(configure("data.group=domain", "data.generated.domains=4", weighting=weighting))


FEEDBACK = {"type": "metadistil", "quiz_batch_size": 8}


@pytest.mark.parametrize("role", ["student", "given", "finetune", "sentences"])
def test_each_checkpoint_of_a_run_is_looked_at(configure: Configure, checkpoint: Path, role: str) -> None:
    changes: dict[str, dict[str, object]] = {
        "student": {"student": str(checkpoint)},
        "given": {"teachers": [str(checkpoint)]},
        "finetune": {"teachers": [{"model": str(checkpoint), "prepare": "finetune"}]},
        "sentences": {"weighting": {"type": "policy", "sentence_encoder": str(checkpoint)}},
    }
    assert api.check(configure(**changes[role]))["name"] == "tiny"
    with pytest.raises(ModelError, match="takes 24 tokens, max_length is 25"):
        api.check(configure("data.max_length=25", **changes[role]))
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_size": 64}))
    with pytest.raises(ModelError, match="its weights do not fit"):
        api.check(configure(**changes[role]))


@pytest.mark.parametrize("prepare", ["given", "finetune", "fresh"])
def test_a_pattern_of_parameters_that_fits_nothing(configure: Configure, checkpoint: Path, prepare: str) -> None:
    teacher = {"model": str(checkpoint), "prepare": prepare}
    changes = {} if prepare == "fresh" else {"teachers": [teacher]}
    layers = 1 if prepare == "fresh" else 3
    plan = api.check(configure(f"feedback.trainable=last_{layers}", feedback=FEEDBACK, **changes))
    assert plan["feedback"]["teachers"] == ["teacher0"]
    with pytest.raises(ModelError, match=r"teacher teacher0: feedback.trainable.*fits none of its parameters"):
        api.check(configure("feedback.trainable=nosuch", feedback=FEEDBACK, **changes))
    with pytest.raises(ModelError, match=f"has {layers} layers, the last 9 cannot learn"):
        api.check(configure("feedback.trainable=last_9", feedback=FEEDBACK, **changes))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.epochs=1e300"], "train.epochs"),
        (["train.epochs=1.7e308", "train.max_steps=3"], "train.epochs"),
        (["teachers.0.finetune.epochs=1e12"], r"teachers.teacher0.finetune.epochs"),
    ],
)
def test_epochs_without_an_end(configure: Configure, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        api.check(configure(*overrides, teachers=[copy.deepcopy(TINY_TEACHER)]))  # overrides reach into it


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tokenizer": "bpe", "vocab_size": 200}, "vocab_size 200 is too small"),
        ({"tokenizer": "/no/such/folder"}, "no such folder"),
    ],
)
def test_a_fresh_model_whose_tokenizer_cannot_be(configure: Configure, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        api.check(configure(student={"layers": 1, "hidden_size": 16, "heads": 2, **keys}))

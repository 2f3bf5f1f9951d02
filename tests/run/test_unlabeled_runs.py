"""Whole runs with rows without labels: labels unread, workers, resuming, baselines, the account of labels."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from logs import events, losses
from tiny import TINY_TEACHER, TOKENIZER_TEACHERS, Configure

from raykd import api, models
from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.errors import ConfigError
from raykd.run.arms import baseline_rows, baseline_training, student_rows
from raykd.run.context import open_corpus
from raykd.training.optim import total_steps
from raykd.weighting.policy import model as policy

pytestmark = pytest.mark.usefixtures("ray_local")

EXACT = ["train.precision=float64", "teachers.0.precision=float64"]
HALF = ["data.max_train_rows=60", "data.unlabeled=rest"]


def sha256(run: Path) -> str:
    return hashlib.sha256((run / "student" / "model.safetensors").read_bytes()).hexdigest()


def tables(folder: Path, rows: int, noise: int) -> dict[str, Any]:
    """Rows of two words in files, and others whose labels `noise` decides; the section `data`."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("validation", 40), ("more", rows)):
        labels = rng.integers(2, size=count)
        texts = [f"{'good' if label else 'bad'} w{rng.integers(9)} w{rng.integers(9)} {name}" for label in labels]
        if name == "more":
            labels = np.random.default_rng(noise).integers(2, size=count)
        pd.DataFrame({"text": texts, "label": labels}).to_csv(folder / f"{name}.csv", index=False)
    return {"source": str(folder), "max_length": 16, "unlabeled": "more"}


@pytest.mark.slow
def test_labels_of_rows_without_labels_decide_nothing(configure: Configure, tmp_path: Path) -> None:
    students = set()
    for noise in (1, 2):
        api.distill(
            configure(data=tables(tmp_path, 90, noise), cache=tmp_path / f"cache{noise}"), tmp_path / f"{noise}"
        )
        students.add(sha256(tmp_path / f"{noise}"))
    assert len(students) == 1
    result = api.distill(configure(data=tables(tmp_path, 90, 1), cache=tmp_path / "cache1"), tmp_path / "1")
    assert (result.splits["unlabeled"].rows, result.splits["train"].rows) == (90, 60)
    assert result.steps == 2 * -(-150 // 32)


@pytest.mark.slow
def test_two_workers_are_one(configure: Configure, tmp_path: Path) -> None:
    """A row without a label weighs 1 / B too, wherever it falls; also with a fixed share of labelled rows."""
    base = [*EXACT, *HALF, "train.batch_size=33", "train.epochs=1", "train.labeled_share=0.3"]
    one = api.distill(configure(*base), tmp_path / "one")
    api.distill(configure(*base, "train.workers=2"), tmp_path / "two")
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-8)
    assert one.steps == 8
    hard = [event.hard for event in events(tmp_path / "one", "step")]
    assert all(value is not None and value > 0 for value in hard), "labelled rows in every batch"


@pytest.mark.slow
def test_stopped_and_resumed_is_bit_equal(configure: Configure, tmp_path: Path) -> None:
    base = [*HALF, "train.labeled_share=0.5", "train.checkpoint_every=3"]
    api.distill(configure(*base), tmp_path / "whole")
    api.distill(configure(*base, "train.max_steps=16"), tmp_path / "parts")
    (tmp_path / "parts" / "result.json").unlink()
    newest = sorted((tmp_path / "parts" / "checkpoints").glob("step-*"))
    assert len(newest) >= 2
    (newest[-1] / "state.pt").write_bytes(b"")
    api.distill(configure(*base, "train.max_steps=16"), tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")[:16]


@pytest.mark.slow
def test_baselines_have_their_rows_and_the_students_steps(configure: Configure, tmp_path: Path) -> None:
    config = configure(*HALF, "baselines=[alone, labeled, pseudo, uniform]", "data.test_from_train=0.2")
    result = api.distill(config, tmp_path / "run")
    corpus, _ = open_corpus(config)
    student = student_rows(config, corpus)
    assert len(student.ids) == 240 - 12
    for name, rows in (("alone", 48), ("labeled", 48), ("pseudo", 228), ("uniform", 228)):
        ids = baseline_rows(config, corpus, name).ids
        assert len(ids) == rows, name
        assert total_steps(rows, baseline_training(config, rows, 228)) == result.steps, name
        folder = tmp_path / "run" / "baselines" / name
        assert events(folder, "step")[-1].step == result.steps
        assert len(events(folder, "eval")) == len(events(tmp_path / "run", "eval")), name
    assert losses(tmp_path / "run" / "baselines" / "uniform") == losses(tmp_path / "run"), "the very same arm"
    assert result.budgets["student"].read == {"student": 48, "teacher teacher0": 48, "choice of checkpoint": 80}
    assert result.budgets["student"].total == 48 + 80
    assert result.budgets["alone"].read == {"student": 48, "choice of checkpoint": 80}
    assert result.seen == {"teacher0": ["train"]}
    assert result.splits["train"].used_for == ["student", "teachers"]


NO_LABELS: dict[str, Any] = {"objective": {"type": "kl", "alpha": 1}}


@pytest.fixture
def classifier(configure: Configure, tmp_path: Path) -> str:
    """A teacher that is given: fine-tuned on the embedded corpus."""
    return api.teach(configure(), tmp_path / "teach")[0]["folder"]


@pytest.mark.parametrize("task", ["classification", pytest.param("regression", marks=pytest.mark.slow)])
def test_no_row_to_train_on_has_a_label(
    configure: Configure, tmp_path: Path, classifier: str, shared_cache: Path, task: str
) -> None:
    """The student learns what the teacher answers; the labels are those of validation, which chooses the checkpoint."""
    if task == "classification":
        data: dict[str, Any] = {"source": "generated", "max_length": 24, "train": None, "unlabeled": "unlabeled"}
        data["generated"] = {"rows": 240, "validation_rows": 80, "domains": 2, "unlabeled_rows": 120}
        changes = {"data": data, "teachers": [classifier], "baselines": ["pseudo"], **NO_LABELS}
    else:
        regression = {**tables(tmp_path, 90, 1), "train": None}
        folder = tmp_path / "regressor"
        spec = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=200)
        models.save(*models.build(spec, Task("regression", "pearson", ()), ["good bad w1 w2"], 0, 24), folder)
        changes = {"data": regression, "task": "regression", "teachers": [str(folder)], **NO_LABELS}
    config = configure(**changes)
    plan = api.check(config)
    assert plan["rows"]["unlabeled"] == plan["teachers"][0]["rows"]
    assert "train" not in plan["rows"]
    result = api.distill(config, tmp_path / "run")
    assert all(np.isfinite(loss) for loss in losses(tmp_path / "run"))
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]
    assert all(event.hard == 0 for event in events(tmp_path / "run", "step"))
    validation = result.splits["validation"].rows
    assert result.budgets["student"].read == {"choice of checkpoint": validation}
    assert (tmp_path / "run" / "report.html").exists()
    assert open_corpus(config)[0].labels == (["negative", "positive"] if task == "classification" else None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.alpha=0.9"], "objective.alpha: 0.1 of the loss would be that on labels, and no training row has"),
        (["teachers.0.prepare=finetune"], "teachers: teacher0 would be fine-tuned, and no training row has a label"),
        (["baselines=[alone]"], "baselines: alone learns from labelled rows alone"),
        (["baselines=[best]"], "baselines: best is fitted on the reward split: set data.reward"),
        (["train.labeled_share=0.5"], "train.labeled_share: no training row has a label"),
        (["weighting=oracle"], "weighting: oracle compares answers with the row's label"),
        (["weighting=logistic"], "data.reward: logistic needs labels, .*: name a split or file"),
        (["weighting={type: policy, reward: r1}"], "weighting.reward: r1 is of rows with labels, .*: use influence"),
        (["weighting={type: policy, reward: influence}"], "data.reward: policy needs labels, .*: name a split or file"),
        (
            ["baselines=[quiz_student]", "feedback=metadistil", "data.quiz=clean.csv"],
            "baselines: quiz_student is about the labels of the quiz, and objective.alpha=1 reads none: leave it out$",
        ),
        (["feedback=metadistil"], "data.quiz: metadistil needs labels, .*: name a split or file"),
        (["feedback={type: ikd, exam_source: train}"], "feedback: its exam is of training rows"),
        (["feedback=ikd", "data.quiz=clean.csv"], "feedback.teacher_ce: .*: set feedback.teacher_ce=0"),
        (["data.quiz=0.1"], "data: quiz: a share of rows with labels, and train is null"),
        (["data.validation_from_train=0.1"], "validation_from_train: .*: name a split or file as validation"),
        (["data.max_train_rows=9"], "max_train_rows: divides rows with labels, and train is null"),
        (["data.unlabeled=null"], "train: null leaves no row to train on"),
    ],
)
def test_what_needs_rows_with_labels_is_refused(configure: Configure, overrides: list[str], message: str) -> None:
    data = {"source": "some/folder", "train": None, "unlabeled": "more"}
    changes = {"data": data, "teachers": [{"model": "some/model"}], **NO_LABELS}
    assert configure(**changes).data.train is None
    with pytest.raises(ConfigError, match=message) as refused:
        configure(*overrides, **copy.deepcopy(changes))
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2


@pytest.mark.slow
def test_pseudo_labels_are_the_teachers_answers(configure: Configure, tmp_path: Path) -> None:
    """The student of a file in which the teacher's answers stand as labels makes the same steps."""
    config = configure(*EXACT, *HALF, "baselines=[pseudo]")
    api.distill(config, tmp_path / "run")
    corpus, _ = open_corpus(config)
    rows, unlabeled = corpus.rows("train"), corpus.ids["unlabeled"]
    texts, labels = rows.texts(np.arange(240)), rows.labels(np.arange(240))
    teacher = Path(api.teach(config, tmp_path / "teach")[0]["folder"])
    model, tokenizer = models.load(teacher, torch.float64)
    with torch.no_grad():
        encoded = tokenizer(
            [texts[k] for k in unlabeled], padding=True, truncation=True, max_length=24, return_tensors="pt"
        )
        labels[unlabeled] = model(**encoded).logits.argmax(1).numpy()
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"text": texts[:40], "label": labels[:40]}).to_csv(tmp_path / "validation.csv", index=False)
    data = {"source": str(tmp_path), "max_length": 24}
    task = {"type": "classification", "labels": list(corpus.labels or [])}
    hard = configure(*EXACT, "objective.alpha=0", data=data, teachers=[str(teacher)], task=task)
    api.distill(hard, tmp_path / "hard")
    np.testing.assert_allclose(losses(tmp_path / "run" / "baselines" / "pseudo"), losses(tmp_path / "hard"), rtol=1e-8)


def test_a_teacher_of_its_own_budget(configure: Configure, tmp_path: Path) -> None:
    """It reads labels beyond the student's, and the account says so."""
    own = {**TINY_TEACHER, "finetune": {**TINY_TEACHER["finetune"], "max_train_rows": 200}}
    result = api.distill(configure(*HALF, teachers=[own]), tmp_path / "run")
    assert result.budgets["student"].read["teacher teacher0"] == 200
    assert result.budgets["student"].read["student"] == 60
    assert 200 <= result.budgets["student"].total - 80 <= 240
    assert result.seen == {"teacher0": ["train, a budget of its own"]}
    assert result.splits["train"].used_for == ["student"]


@pytest.mark.slow
def test_a_regression_learns_from_rows_without_labels(configure: Configure, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, rows in (("train", 120), ("validation", 40)):
        values = rng.normal(size=rows)
        texts = [
            f"w{int(9 * abs(value)) % 10} {'up' if value > 0 else 'down'} {name} {k}" for k, value in enumerate(values)
        ]
        pd.DataFrame({"text": texts, "label": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    data = {"source": str(tmp_path), "max_length": 16, "max_train_rows": 40, "unlabeled": "rest"}
    result = api.distill(
        configure("baselines=[alone, labeled, pseudo]", task="regression", data=data), tmp_path / "run"
    )
    assert all(np.isfinite(loss) for loss in losses(tmp_path / "run"))
    assert set(result.baselines) == {"alone", "labeled", "pseudo"}
    assert result.splits["unlabeled"].rows == 80


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["r1", pytest.param("influence", marks=pytest.mark.nightly)])
def test_a_policy_on_rows_of_both_kinds(configure: Configure, tmp_path: Path, reward: str) -> None:
    """Its states cannot tell them apart; r1 is learnt from labelled rows alone, influence from all."""
    weighting = {"type": "policy", "reward": {"type": reward, "every": 2, "batch_size": 8}}
    data = {**tables(tmp_path, 90, 1), "reward": 0.2} if reward == "influence" else tables(tmp_path, 90, 1)
    config = configure(data=data, teachers=TOKENIZER_TEACHERS, weighting=weighting)
    result = api.distill(config, tmp_path / "run")
    updates = events(tmp_path / "run", "policy")
    assert updates
    assert all(0 < event.rows < 32 for event in updates) == (reward == "r1")
    exported = policy.load(tmp_path / "run" / "policy")
    assert not exported.layout.labeled
    assert result.weighting is not None
    assert result.weighting.teacher_weights is not None
    classes = {group.group: group.rows for group in result.weighting.teacher_weights.groups["class"]}
    assert classes["(no label)"] == 90
    assert result.budgets["student"].read["reward"] == (12 if reward == "influence" else 60)

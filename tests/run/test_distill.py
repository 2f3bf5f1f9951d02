"""Whole runs with real Ray and tiny real models: the same student however it is served, and nothing computed twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from logs import losses
from tiny import TOKENIZER_TEACHERS, Configure

from raykd import api, models
from raykd.errors import ConfigError, ModelError

pytestmark = pytest.mark.usefixtures("ray_local")

EXACT = ["train.precision=float64", "teachers.0.precision=float64"]


def test_a_whole_run_and_the_next_computes_no_teacher_row(configure: Configure, tmp_path: Path) -> None:
    config = configure("baselines=[alone, in_loop]", "data.test=validation", cache=tmp_path / "cache")
    result = api.distill(config, tmp_path / "one")
    (teacher,) = result.teachers
    assert teacher.rows_computed == 240 + 80
    assert teacher.rows_reused == 0
    assert teacher.forwards == 240 + 80
    assert result.test == result.scores
    assert set(result.baselines) == {"alone", "in_loop"}
    assert result.confusion is not None
    assert sum(count for row in result.confusion for count in row) == 80
    for name in ("report.html", "predictions.parquet", "config.yaml", "student/README.md", "student/model.safetensors"):
        assert (tmp_path / "one" / name).exists(), name
    written = json.loads((tmp_path / "one" / "result.json").read_text(encoding="utf-8"))
    assert written["value"] == result.value
    again = api.distill(configure("seed=1", cache=tmp_path / "cache"), tmp_path / "two")
    assert again.teachers[0].rows_computed == 0
    assert again.teachers[0].forwards == 0
    assert again.teachers[0].rows_reused == 240 + 80
    assert again.efficiency.hit_rate == 1.0


def test_served_stored_and_in_the_loop_are_the_same_student(configure: Configure, tmp_path: Path) -> None:
    """The same to 1e-8 in float64 with and without a store, one and three replicas, waiting or not."""
    stored = api.distill(configure(*EXACT, "baselines=[in_loop]"), tmp_path / "stored")
    wanted = losses(tmp_path / "stored")
    np.testing.assert_allclose(losses(tmp_path / "stored" / "baselines" / "in_loop"), wanted, rtol=1e-8)
    for replicas in (1, 3):
        config = configure(*EXACT, "train.overlap=true", f"teachers.0.replicas={replicas}", cache=tmp_path / "fresh")
        folder = tmp_path / f"replicas{replicas}"
        result = api.distill(config, folder)
        np.testing.assert_allclose(losses(folder), wanted, rtol=1e-8)
        assert result.value == stored.value
        for store in (tmp_path / "fresh").glob("targets/*/manifest.json"):
            store.unlink()


@pytest.mark.slow
def test_two_workers_are_one(configure: Configure, tmp_path: Path) -> None:
    """Through Ray Train, unequal shards of 33 rows, a last batch of 9; the targets come while the students train."""
    base = [*EXACT, "train.batch_size=33", "train.epochs=1"]
    api.distill(configure(*base), tmp_path / "one")
    api.distill(configure(*base, "train.workers=2", "train.overlap=true", cache=tmp_path / "cache"), tmp_path / "two")
    assert len(losses(tmp_path / "two")) == 8
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-8)
    result = json.loads((tmp_path / "two" / "result.json").read_text(encoding="utf-8"))
    assert result["steps"] == 8


@pytest.mark.slow
def test_a_teacher_with_swapped_labels_gives_the_same_student(configure: Configure, tmp_path: Path) -> None:
    """Columns are aligned by name: wrongly ordered ones are the largest silent failure."""
    teacher = Path(api.teach(configure(), tmp_path / "teach")[0]["folder"])
    model, tokenizer = models.load(teacher)
    with torch.no_grad():
        for name in ("classifier.weight", "classifier.bias"):
            model.get_parameter(name).copy_(model.get_parameter(name).flip(0))
    model.config.id2label = {0: "positive", 1: "negative"}
    model.config.label2id = {"positive": 0, "negative": 1}
    models.save(model, tokenizer, tmp_path / "swapped")
    plain = api.distill(configure(teachers=[str(teacher)]), tmp_path / "plain")
    swapped = api.distill(configure(teachers=[str(tmp_path / "swapped")]), tmp_path / "run")
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "plain"), rtol=1e-6)
    assert swapped.teachers[0].metric == plain.teachers[0].metric
    assert swapped.teachers[0].address != plain.teachers[0].address
    model.config.id2label = {0: "good", 1: "bad"}
    models.save(model, tokenizer, tmp_path / "renamed")
    with pytest.raises(ModelError, match="good, bad"):
        api.distill(configure(teachers=[str(tmp_path / "renamed")]), tmp_path / "no")


def test_teachers_with_their_own_tokenizers_blend(configure: Configure, tmp_path: Path) -> None:
    teachers = TOKENIZER_TEACHERS
    result = api.distill(configure("weighting={type: fixed, weights: [3, 1]}", teachers=teachers), tmp_path)
    assert [teacher.name for teacher in result.teachers] == ["wordpiece", "bpe"]
    assert result.teachers[0].address != result.teachers[1].address
    with pytest.raises(ConfigError, match=r"weighting.weights: 1 weights for 2 teachers"):
        configure("weighting={type: fixed, weights: [1]}", teachers=teachers)


def _table(rows: int, seed: int) -> pd.DataFrame:
    """Pairs whose similarity is the share of words that they have in common."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{k}" for k in range(30)])
    first = [rng.choice(words, 6, replace=False) for _ in range(rows)]
    second = [np.concatenate([f[: (k := int(rng.integers(7)))], rng.choice(words, 6 - k)]) for f in first]
    shared = [len(set(a) & set(b)) / 6 * 5 for a, b in zip(first, second, strict=True)]
    return pd.DataFrame({"a": [" ".join(f) for f in first], "b": [" ".join(s) for s in second], "score": shared})


@pytest.mark.slow
def test_regression_on_pairs(configure: Configure, tmp_path: Path) -> None:
    _table(240, 0).to_csv(tmp_path / "train.csv", index=False)
    _table(60, 1).to_csv(tmp_path / "validation.csv", index=False)
    data = {"source": str(tmp_path), "text": "a", "text_pair": "b", "label": "score", "max_length": 24}
    config = configure(*EXACT, "baselines=[in_loop]", task="regression", data=data)
    result = api.distill(config, tmp_path / "run")
    assert result.metric == "pearson"
    assert set(result.scores) >= {"pearson", "spearman"}
    assert result.confusion is None
    np.testing.assert_allclose(losses(tmp_path / "run" / "baselines" / "in_loop"), losses(tmp_path / "run"), rtol=1e-8)
    columns = ["arm", "split", "id", "label", "prediction"]
    assert list(pd.read_parquet(tmp_path / "run" / "predictions.parquet").columns) == columns


def test_a_finished_folder_returns_and_a_changed_key_is_named(configure: Configure, tmp_path: Path) -> None:
    first = api.distill(configure(), tmp_path / "run")
    stamp = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert api.distill(configure("teachers.0.replicas=2"), tmp_path / "run").value == first.value
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match=r"whose train.lr differs"):
        api.distill(configure("train.lr=1e-3"), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").touch()
    with pytest.raises(ConfigError, match="is not empty and no run's folder"):
        api.distill(configure(), tmp_path / "other")


def test_evaluate_agrees_with_the_run(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    result = api.distill(config, tmp_path / "run")
    scores = api.evaluate(tmp_path / "run" / "student", config)
    assert scores["validation"] == result.scores
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        api.evaluate(tmp_path, config)


@pytest.mark.slow
def test_a_teacher_that_knows_nothing_is_a_warning(configure: Configure, tmp_path: Path) -> None:
    teacher = Path(api.teach(configure(), tmp_path / "teach")[0]["folder"])
    model, tokenizer = models.load(teacher)
    with torch.no_grad():
        model.get_parameter("classifier.weight").zero_()
    models.save(model, tokenizer, tmp_path / "blank")
    result = api.distill(configure(teachers=[str(tmp_path / "blank")]), tmp_path / "run")
    assert any("no better than always answering the commonest" in warning for warning in result.warnings)


@pytest.mark.slow
def test_teach_with_store_makes_the_pass_of_a_later_run(configure: Configure, tmp_path: Path) -> None:
    config = configure(cache=tmp_path / "cache")
    (taught,) = api.teach(config, tmp_path / "teach", store=True)
    assert (taught["rows"], taught["rows_computed"]) == (240 + 80, 240 + 80)
    result = api.distill(config, tmp_path / "run")
    assert (result.teachers[0].rows_computed, result.teachers[0].rows_reused) == (0, 240 + 80)
    (again,) = api.teach(config, tmp_path / "again", store=True)
    assert (again["rows"], again["rows_computed"]) == (240 + 80, 0)

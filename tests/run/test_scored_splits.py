"""Predictions of every arm and split, and a test score for every arm: each follows from the rows that are written."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY_TEACHER, Configure

from raykd import api, models
from raykd.config import RunConfig
from raykd.data.corpus import Corpus
from raykd.records.predictions import arms_of, read_predictions, teacher_arm
from raykd.records.result import read_result
from raykd.records.run_result import BaselineResult, RunResult, TeacherResult
from raykd.run.context import open_corpus
from raykd.run.result import gap_of

pytestmark = pytest.mark.usefixtures("ray_local")


def reviews(folder: Path) -> dict[str, object]:
    """Files whose test rows differ from the validation's; the section `data` that reads them."""
    rng = np.random.default_rng(0)
    for split, rows in (("train", 200), ("validation", 60), ("test", 50)):
        labels = rng.permutation(np.arange(rows) % 2)
        texts = [
            " ".join(f"{'ab'[label if mine else 1 - label]}{rng.integers(6)}" for mine in rng.random(5) < 0.7)
            for label in labels
        ]
        pd.DataFrame({"text": texts, "label": labels}).to_csv(folder / f"{split}.csv", index=False)
    return {"source": str(folder), "test": "test", "max_length": 16}


def plain_answers(checkpoint: Path, corpus: Corpus, split: str) -> np.ndarray:
    """The classes that a checkpoint answers, with transformers alone, a row at a time."""
    model, tokenizer = models.load(checkpoint)
    texts = corpus.rows(split).texts(corpus.ids[split])
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=16)).logits
                  for text in texts]  # fmt: skip
    return torch.cat(logits).argmax(1).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scored")


def scored_config(configure: Configure, folder: Path) -> RunConfig:
    """A teacher that has the name of a baseline, and two baselines."""
    teachers = [{**TINY_TEACHER, "name": "uniform"}]
    return configure("baselines=[alone, uniform]", "train.lr=1e-2", data=reviews(folder), teachers=teachers)


def test_every_arm_has_predictions_and_scores_on_both_splits(configure: Configure, folder: Path) -> None:
    config = scored_config(configure, folder)
    result = api.distill(config, folder / "run")
    assert arms_of(result) == ["student", "alone", "uniform", "teacher uniform"]
    frame = pd.read_parquet(folder / "run" / "predictions.parquet")
    probabilities = [f"prob_{label}" for label in result.labels or []]
    assert list(frame.columns) == ["arm", "split", "id", "label", "prediction", *probabilities]
    assert len(frame) == 4 * (60 + 50)
    corpus, _ = open_corpus(config)
    scores = {
        "student": (result.scores, result.test),
        **{name: (baseline.scores, baseline.test) for name, baseline in result.baselines.items()},
        "teacher uniform": (result.teachers[0].scores, result.teachers[0].test),
    }
    for arm, split in itertools.product(scores, ("validation", "test")):
        rows = frame[(frame["arm"] == arm) & (frame["split"] == split)]
        written = scores[arm][split == "test"]
        assert written is not None
        np.testing.assert_array_equal(rows["id"], corpus.ids[split])
        np.testing.assert_array_equal(rows["label"], corpus.rows(split).labels(corpus.ids[split]))
        assert (rows["prediction"] == rows["label"]).mean() == pytest.approx(written["accuracy"])
        np.testing.assert_allclose(rows[probabilities].sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(rows[probabilities].to_numpy().argmax(1), rows["prediction"])
    # The files differ, so a score of the wrong split would show.
    assert any(validation["accuracy"] != (test or {})["accuracy"] for validation, test in scores.values())
    assert result.teachers[0].rows_computed == 200 + 60 + 50


def test_the_predictions_are_those_of_the_checkpoints(configure: Configure, folder: Path) -> None:
    """Of the kept student and of the teacher as it lies in the cache, by a forward pass that shares no code."""
    config = scored_config(configure, folder)
    api.distill(config, folder / "run")
    answers, (corpus, _) = read_predictions(folder / "run"), open_corpus(config)
    teacher = Path(api.teach(config, folder / "teach")[0]["folder"])
    for arm, checkpoint in (("student", folder / "run" / "student"), ("teacher uniform", teacher)):
        for split in ("validation", "test"):
            np.testing.assert_array_equal(answers[arm, split].predicted, plain_answers(checkpoint, corpus, split))


def test_the_test_values_are_reported_and_validation_chose(configure: Configure, folder: Path) -> None:
    result = api.distill(scored_config(configure, folder), folder / "run")
    test, alone = result.test, result.baselines["alone"].test
    assert test is not None
    assert alone is not None
    assert result.reported_split == "test"
    assert (result.gap.student, result.gap.alone) == (test["accuracy"], alone["accuracy"])
    assert result.value == result.scores["accuracy"]
    assert result.splits["test"].fingerprint != result.splits["validation"].fingerprint != ""
    assert read_result(folder / "run" / "result.json") == result


def test_a_file_of_an_earlier_version_is_the_student_on_validation(tmp_path: Path) -> None:
    old = pd.DataFrame({"id": [3, 1], "label": [0, 1], "prediction": [1, 1], "prob_a": [0.1, 0.2]})
    old.to_parquet(tmp_path / "predictions.parquet", index=False)
    (key, answers), = read_predictions(tmp_path).items()  # fmt: skip
    assert key == ("student", "validation")
    assert (answers.ids.tolist(), answers.labels.tolist(), answers.predicted.tolist()) == ([1, 3], [1, 0], [1, 1])
    assert read_predictions(tmp_path / "none") == {}


def test_a_teacher_with_the_name_of_another_arm_is_told_apart() -> None:
    assert teacher_arm("student", ["alone"]) == "teacher student"
    assert teacher_arm("alone", ["alone"]) == "teacher alone"
    assert teacher_arm("alone", ["uniform"]) == "alone"


def baseline(value: float, test: float | None) -> BaselineResult:
    scores = None if test is None else {"accuracy": test}
    return BaselineResult(value=value, scores={"accuracy": value}, test=scores, seconds=1, samples_per_s=1)


def teacher(name: str, value: float, test: float | None) -> TeacherResult:
    scores = None if test is None else {"accuracy": test}
    return TeacherResult(
        name=name, metric=value, scores={"accuracy": value}, test=scores, version=0, forwards=0, rows_computed=0,
        rows_reused=0, seconds=0, parameters=1, address="",
    )  # fmt: skip


def test_the_gap_on_test_takes_the_teacher_that_validation_chose() -> None:
    teachers = [teacher("better", 0.95, 0.90), teacher("luckier", 0.94, 0.99)]
    gap = gap_of("accuracy", 0.88, {"accuracy": 0.85}, {"alone": baseline(0.8, 0.7)}, teachers)
    assert (gap.split, gap.teacher, gap.alone, gap.student) == ("test", 0.90, 0.7, 0.85)
    assert gap.closed == pytest.approx((0.85 - 0.7) / (0.90 - 0.7))


def test_without_a_test_score_of_every_model_validation_is_reported() -> None:
    gap = gap_of("accuracy", 0.88, {"accuracy": 0.85}, {"alone": baseline(0.8, None)}, [teacher("one", 0.95, 0.9)])
    assert (gap.split, gap.teacher, gap.alone, gap.student) == ("validation", 0.95, 0.8, 0.88)


def test_a_result_of_an_earlier_version_is_read(configure: Configure, folder: Path, tmp_path: Path) -> None:
    """Without the fields that came with the test scores of every arm, its values are those on validation."""
    result = api.distill(scored_config(configure, folder), folder / "run")
    raw = result.model_dump(mode="json")
    del raw["gap"]["split"]
    for model in (*raw["teachers"], *raw["baselines"].values()):
        del model["test"]
    for split in raw["splits"].values():
        del split["fingerprint"]
    old = RunResult.model_validate(raw)
    assert old.reported_split == "validation"
    assert old.reported_value(old) == result.value

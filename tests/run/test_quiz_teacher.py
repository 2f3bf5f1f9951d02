"""The baseline `quiz_teacher`: its teachers' weights against a plain loop, its student, resuming, the account."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
import torch.nn.functional as F
from logs import losses
from rich.console import Console
from rich.table import Table
from tiny import TINY_TEACHER, Configure, graded_rows

from raykd import api, models
from raykd.config import RunConfig
from raykd.data.encoding import Encoder
from raykd.display.tables import final_table, plan_table
from raykd.display.text import number
from raykd.errors import Interrupted
from raykd.models import forward
from raykd.records.run_result import RunResult
from raykd.run.context import open_corpus
from raykd.training.job import Subset

pytestmark = pytest.mark.usefixtures("ray_local")

EXACT = ["train.precision=float64", "teachers.0.precision=float64"]
TEACHERS = Path("baselines") / "quiz_teacher" / "teachers"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain_loop(config: RunConfig, start: Path, steps: list[int], rows: int) -> dict[str, torch.Tensor]:
    """θ_T after AdamW steps on the quizzes of these student steps: decay on matrices alone, linear rate, clipping."""
    corpus, _ = open_corpus(config)
    quiz, settings = Subset.of(corpus, "quiz"), config.feedback.model_dump()
    model, tokenizer = models.load(start, torch.float64)
    model.eval()
    encoder, rate = Encoder(tokenizer, quiz.rows(), config.data.max_length), settings["teacher_lr"]
    learning = [p for name, p in model.named_parameters() if name.startswith("classifier") or "layer.0" in name]
    decays = [{"params": [p], "weight_decay": settings["teacher_weight_decay"] * (p.ndim > 1)} for p in learning]
    optimizer = torch.optim.AdamW(decays, lr=rate)
    for done, step in enumerate(steps):
        key = np.array([config.seed, zlib.crc32(f"quiz/{step}/0".encode())], dtype=np.uint64)
        ids = quiz.ids[np.random.Generator(np.random.Philox(key=key)).integers(len(quiz.ids), size=rows)]
        logits, labels = forward.logits(model, encoder.encode(ids)), torch.from_numpy(quiz.rows().labels(ids))
        loss = F.mse_loss(logits[:, 0], labels) if logits.shape[1] == 1 else F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, settings["teacher_max_grad_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - done / len(steps))
        optimizer.step()
    return model.state_dict()


def assert_same_weights(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    tuned = models.load(folder, torch.float64)[0].state_dict()
    assert tuned.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(tuned[name], tensor, rtol=1e-7, atol=1e-10)


SETTINGS = [
    "feedback.teacher_lr=3e-3", "feedback.teacher_weight_decay=0.1", "feedback.teacher_max_grad_norm=0.05",
    "feedback.trainable=last_1", "feedback.quiz_batch_size=12",
]  # fmt: skip


def drawn(table: Table) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def tuned_run(configure: Configure, folder: Path, cache: Path | None = None) -> tuple[RunConfig, RunResult]:
    """A run of six steps, three of them with a round of feedback, whose teacher has a loss of its own beside."""
    config = configure(
        *EXACT, "feedback={type: metadistil, start: 1, every: 2, teacher_ce: 0.3}", *SETTINGS, *ROWS,
        baselines=["quiz_teacher"], cache=cache,
    )  # fmt: skip
    return config, api.distill(config, folder)


ROWS = ["train.max_steps=6", "data.test_from_train=0.1", "data.quiz=0.2"]


@pytest.mark.slow
def test_tuned_weights_are_those_of_a_plain_loop_and_the_account_has_them(configure: Configure, tmp_path: Path) -> None:
    config, result = tuned_run(configure, tmp_path / "run")
    tuned = tmp_path / "run" / TEACHERS / "teacher0"
    start = Path(api.teach(config, tmp_path / "teach")[0]["folder"])
    assert_same_weights(tuned, plain_loop(config, start, [1, 3, 5], 12))
    rows, quiz = result.splits["train"].rows, result.splits["quiz"].rows
    whole_plan = api.check(config)
    plan = whole_plan["baselines"]["quiz_teacher"]
    assert (plan["teachers"]["steps"], plan["teachers"]["rows"], plan["steps"]) == (3, rows, result.steps)
    assert f"teacher0 trained on the quiz for quiz_teacher, {rows} rows requested" in drawn(plan_table(whole_plan))
    baseline = result.baselines["quiz_teacher"]
    trained = baseline.teachers["teacher0"]
    change = f"{number(trained.began['accuracy'])} -> {number(trained.ended['accuracy'])}"
    assert f"teacher teacher0 on validation {change}" in drawn(final_table(result))
    assert (trained.versions, trained.folder) == (3, str(TEACHERS / "teacher0"))
    assert trained.began == pytest.approx(result.teachers[0].scores)
    assert trained.ended == pytest.approx(api.evaluate(tuned, config)["validation"])
    assert (trained.drift or 0) > 0
    assert baseline.rows_computed == rows
    assert baseline.test is not None
    read = {"student": rows, "teacher teacher0": rows + quiz, "choice of checkpoint": 80}
    assert result.budgets["quiz_teacher"].read == read
    assert result.budgets["quiz_teacher"].total == result.budgets["student"].total == rows + quiz + 80
    assert result.seen["teacher0 of quiz_teacher"] == ["train", "quiz"]
    answers = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert set(answers[answers["arm"] == "quiz_teacher"]["split"]) == {"validation", "test"}
    assert "teacher teacher0 on validation" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    arms = {arm.name: arm for arm in api.compare([tmp_path / "run"], every_arm=True).arms}
    assert arms["baseline quiz_teacher"].rows_computed == rows


@pytest.mark.slow
def test_the_student_is_that_of_vanilla_kd_from_the_tuned_teacher(configure: Configure, tmp_path: Path) -> None:
    """Bit for bit, on the same rows: the quiz is held out by `data.quiz` alone."""
    cache = tmp_path / "cache"
    _, result = tuned_run(configure, tmp_path / "run", cache)
    plain = configure(*EXACT, *ROWS, teachers=[str(tmp_path / "run" / TEACHERS / "teacher0")], cache=cache)
    same = api.distill(plain, tmp_path / "plain")
    assert same.teachers[0].rows_computed == 80 + result.splits["test"].rows, "the arm's soft targets are this one's"
    folder = tmp_path / "run" / "baselines" / "quiz_teacher"
    assert losses(folder) == losses(tmp_path / "plain")
    (best,) = (path for path in (folder / "checkpoints").glob("best-*") if int(path.name[5:]) == same.best_step)
    assert sha256(best / "model.safetensors") == sha256(tmp_path / "plain" / "student" / "model.safetensors")
    baseline = result.baselines["quiz_teacher"]
    assert (baseline.scores, baseline.test) == (same.scores, same.test)


@pytest.mark.slow
def test_a_regression_and_a_quiz_of_several_parts(configure: Configure, tmp_path: Path) -> None:
    """Squared errors; 80 rows of a quiz, 32 at a time; IKD's quizzes have the same keys."""
    graded_rows(tmp_path, 120, 40)
    config = configure(
        *EXACT, "feedback.type=ikd", *SETTINGS, "feedback.quiz_batch_size=40", "feedback.quiz_batches=2",
        "train.max_steps=4", "objective.type=mse", task="regression", baselines=["quiz_teacher"],
        data={"source": str(tmp_path), "max_length": 24, "quiz": 0.3},
    )  # fmt: skip
    api.distill(config, tmp_path / "run")
    start = Path(api.teach(config, tmp_path / "teach")[0]["folder"])
    assert_same_weights(tmp_path / "run" / TEACHERS / "teacher0", plain_loop(config, start, [0, 1, 2, 3], 80))


def three_teachers() -> list[dict[str, Any]]:
    teachers = [json.loads(json.dumps(TINY_TEACHER)) | {"name": name} for name in ("still", "eager", "keen")]
    for seed, teacher in enumerate(teachers):
        teacher["finetune"]["seed"] = seed
        teacher["precision"] = "float64"
    return teachers


@pytest.mark.nightly
def test_some_of_several_teachers_and_two_workers(configure: Configure, tmp_path: Path) -> None:
    """Each learning teacher by itself; the others are served as they are, and workers change nothing."""
    config = configure(
        "train.precision=float64", "feedback={type: metadistil, teachers: [eager, keen], ranks: 2}", *SETTINGS,
        "train.workers=2", "train.max_steps=4", "weighting={type: fixed, weights: [1, 2, 3]}",
        teachers=three_teachers(), baselines=["quiz_teacher"],
    )  # fmt: skip
    result = api.distill(config, tmp_path / "run")
    prepared = {entry["name"]: Path(entry["folder"]) for entry in api.teach(config, tmp_path / "teach")}
    for name in ("eager", "keen"):
        assert_same_weights(tmp_path / "run" / TEACHERS / name, plain_loop(config, prepared[name], [0, 1, 2, 3], 12))
    assert set(result.baselines["quiz_teacher"].teachers) == {"eager", "keen"}
    assert result.baselines["quiz_teacher"].rows_computed == 2 * result.splits["train"].rows
    rows, quiz = result.splits["train"].rows, result.splits["quiz"].rows
    read = result.budgets["quiz_teacher"].read
    assert (read["teacher still"], read["teacher eager"]) == (rows, rows + quiz)
    folders = [prepared["still"], *(tmp_path / "run" / TEACHERS / name for name in ("eager", "keen"))]
    plain = configure(
        "train.precision=float64", "train.workers=1", "train.max_steps=4", "data.quiz=0.1",
        "weighting={type: fixed, weights: [1, 2, 3]}",
        teachers=[{"model": str(folder), "precision": "float64"} for folder in folders],
    )  # fmt: skip
    api.distill(plain, tmp_path / "plain")
    folder = tmp_path / "run" / "baselines" / "quiz_teacher"
    np.testing.assert_allclose(losses(folder), losses(tmp_path / "plain"), rtol=1e-8)


@pytest.mark.nightly
def test_interrupted_and_killed_it_ends_as_undisturbed(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(
        "feedback={type: metadistil, teacher_lr: 1e-3}", "train.checkpoint_every=2", baselines=["quiz_teacher"]
    )
    api.distill(config, tmp_path / "whole")
    disturbed = tmp_path / "parts"
    after_a_checkpoint(disturbed, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="teachers on the quiz: stopped at step"):
        api.distill(config, disturbed)
    after_a_checkpoint(disturbed, kill_the_trainer, newer_than=newest(disturbed))
    result = api.distill(config, disturbed)
    assert "going back to the last checkpoint" in caplog.text
    assert tuned_of(disturbed) == tuned_of(tmp_path / "whole")
    assert losses(disturbed / "baselines" / "quiz_teacher") == losses(tmp_path / "whole" / "baselines" / "quiz_teacher")
    assert again(config, disturbed).baselines["quiz_teacher"].teachers == result.baselines["quiz_teacher"].teachers
    # A file that is not what was written is made again; what is whole is left alone.
    stamp = (disturbed / TEACHERS / "tuned.json").stat().st_mtime_ns
    again(config, disturbed)
    assert (disturbed / TEACHERS / "tuned.json").stat().st_mtime_ns == stamp
    weights = disturbed / TEACHERS / "teacher0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    again(config, disturbed)
    assert (disturbed / TEACHERS / "tuned.json").stat().st_mtime_ns > stamp
    assert tuned_of(disturbed) == tuned_of(tmp_path / "whole")


def again(config: RunConfig, folder: Path) -> RunResult:
    (folder / "result.json").unlink()
    return api.distill(config, folder)


def tuned_of(run: Path) -> str:
    return sha256(run / TEACHERS / "teacher0" / "model.safetensors")


def newest(run: Path) -> str:
    checkpoints = sorted((run / "baselines" / "quiz_teacher" / "teachers.work").glob("step-*"))
    return checkpoints[-1].name if checkpoints else ""


def after_a_checkpoint(run: Path, act: Any, newer_than: str = "") -> None:
    """Calls `act` in a thread once the tuning has written a checkpoint."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while newest(run) <= newer_than and time.monotonic() < deadline:
            time.sleep(0.002)
        act()

    threading.Thread(target=wait, daemon=True).start()


def kill_the_trainer() -> None:
    actors = ray.util.list_named_actors(all_namespaces=True)
    for trainer in [actor for actor in actors if actor["name"].startswith("teacher-trainer-")]:
        ray.kill(ray.get_actor(trainer["name"], trainer["namespace"]))

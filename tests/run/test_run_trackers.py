"""Trackers of a single run: what they are sent is what the logs have; a failing one does not end the run."""

from __future__ import annotations

import importlib
import logging
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import logged
import pytest
from logs import events
from tensorboardX.proto.event_pb2 import Event as TensorBoardEvent
from tiny import Configure

from raykd import api
from raykd.config import RunConfig
from raykd.errors import ConfigError
from raykd.records.log import MetricsLog
from raykd.records.run_result import BaselineResult, DataResult, Efficiency, Gap, ModelSize, RunResult
from raykd.run import trackers
from raykd.run.tracker_backends import TensorBoard
from raykd.run.trackers import RunTrackers

ALONE = BaselineResult(value=0.25, scores={"accuracy": 0.25}, seconds=1.0, samples_per_s=9.0)
RESULT = RunResult(
    name="tiny", metric="accuracy", value=0.5, scores={"accuracy": 0.5}, best_step=7, steps=7, epochs=1.0, teachers=[],
    baselines={"alone": ALONE}, gap=Gap(teacher=None, alone=0.25, student=0.5, closed=None), splits={}, warnings=[],
    efficiency=Efficiency(samples_per_s=9.0, student_only_samples_per_s=9.0, ratio=1.0, wait_share=0.0, hit_rate=1.0,
                          train_s=1.0, feedback_s=0.0),
    student=ModelSize(parameters=100), data=DataResult(overlap=0, fingerprint="0"), seed=0, versions={},
)  # fmt: skip


def scalars_in(folder: Path) -> dict[str, dict[int, float]]:
    """By tag the values over steps in a folder's event files; a step that is there twice fails."""
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for path in folder.glob("events.out.tfevents*"):
        content = path.read_bytes()
        while content:  # records of length, checksum, event, checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = TensorBoardEvent.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                assert event.step not in values[value.tag]
                values[value.tag][event.step] = value.simple_value
    return values


def step_losses(folder: Path) -> dict[int, float]:
    return {event.step: event.loss for event in events(folder, "step")}


@pytest.mark.usefixtures("ray_local")
def test_tensorboard_has_what_the_logs_have(configure: Configure, tmp_path: Path) -> None:
    config = configure("trackers={tensorboard: true}", "train.epochs=1", "baselines=[alone]")
    result = api.distill(config, tmp_path)
    for model, log in (("student", tmp_path), ("alone", tmp_path / "baselines" / "alone")):
        sent, in_log = scalars_in(tmp_path / "tensorboard" / model), step_losses(log)
        assert sent["train/loss"] == pytest.approx(in_log, rel=1e-6)
        assert len(in_log) == 8
    assert scalars_in(tmp_path / "tensorboard" / "student")["validation/accuracy"][8] == pytest.approx(result.value)
    final = scalars_in(tmp_path / "tensorboard" / "student" / "final")
    assert final["final/validation/accuracy"] == {0: pytest.approx(result.value)}
    assert final["final/alone/validation/accuracy"] == {0: pytest.approx(result.baselines["alone"].value)}


def a_step(log: MetricsLog, step: int, loss: float | None = 1.0) -> None:
    log.write(logged.step(step, loss=loss))


def test_a_resumed_run_is_written_again_from_its_logs(configure: Configure, tmp_path: Path) -> None:
    """Steps after the last checkpoint are done again: each is there once, with its last value."""
    config, log = configure("trackers={tensorboard: true}"), MetricsLog(tmp_path / "metrics.jsonl")
    with RunTrackers(config, tmp_path, "run"):
        for step in range(1, 6):
            a_step(log, step, loss=float(step))
    assert scalars_in(tmp_path / "tensorboard" / "student")["train/loss"] == {k: float(k) for k in range(1, 6)}
    log.truncate(3)
    with RunTrackers(config, tmp_path, "run") as session:
        for step in (4, 5, 6):
            a_step(log, step, loss=10.0 * step)
        a_step(log, 7, loss=None)  # a loss that is not finite is null in the log, and no point of a curve
        session.finish(RESULT)
    losses = {1: 1.0, 2: 2.0, 3: 3.0, 4: 40.0, 5: 50.0, 6: 60.0}
    assert scalars_in(tmp_path / "tensorboard" / "student")["train/loss"] == losses
    final = scalars_in(tmp_path / "tensorboard" / "student" / "final")
    assert final["final/alone/validation/accuracy"] == {0: 0.25}


def test_a_log_that_is_cut_back_meanwhile_is_written_again(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "SECONDS_BETWEEN_LOOKS", 3600.0)
    config, log = configure("trackers={tensorboard: true}"), MetricsLog(tmp_path / "metrics.jsonl")
    with RunTrackers(config, tmp_path, "run") as session:
        for step in (1, 2, 3):
            a_step(log, step)
        session._look()
        log.truncate(1)
        a_step(log, 2, loss=7.0)
    assert scalars_in(tmp_path / "tensorboard" / "student")["train/loss"] == {1: 1.0, 2: 7.0}


def test_what_was_sent_is_not_sent_again(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As to a server, which keeps what it has."""
    monkeypatch.setattr(TensorBoard, "replays", False)
    config, log = configure("trackers={tensorboard: true}"), MetricsLog(tmp_path / "metrics.jsonl")
    for steps in ((1, 2), (3,)):
        with RunTrackers(config, tmp_path, "run"):
            for step in steps:
                a_step(log, step)
        assert set(scalars_in(tmp_path / "tensorboard" / "student")["train/loss"]) == set(steps)


def test_a_tracker_that_fails_is_given_up(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(TensorBoard, "scalars", broken)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with (
        caplog.at_level(logging.WARNING),
        RunTrackers(configure("trackers={tensorboard: true}"), tmp_path, "r") as session,
    ):
        a_step(log, 1)
        a_step(log, 2)
        session.finish(RESULT)
    assert [record.getMessage() for record in caplog.records] == [
        "the tracker TensorBoard is given up: no route to host"
    ]


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named_before_anything_is_trained(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"trackers.{package}: its package is not installed") as caught:
        api.distill(configure(f"trackers={{{package}: here}}", cache=tmp_path / "cache"), tmp_path / "run")
    assert caught.value.status == 2
    assert not (tmp_path / "cache" / "teachers").exists()


def tiny_run(configure: Configure, tracker: str) -> RunConfig:
    return configure("train.epochs=1", "baselines=[alone]", f"trackers={{{tracker}}}")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_mlflow_in_a_file(configure: Configure, tmp_path: Path) -> None:
    mlflow = importlib.import_module("mlflow")
    uri = f"sqlite:///{tmp_path / 'ml.db'}"
    result = api.distill(tiny_run(configure, f'mlflow: "{uri}"'), tmp_path / "run")
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.002"
    assert run.data.metrics["final/validation/accuracy"] == result.value
    for model, folder in (("student", tmp_path / "run"), ("alone", tmp_path / "run/baselines/alone")):
        sent = {
            metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, f"{model}/train/loss")
        }
        assert sent == step_losses(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_mlflow_resumes_its_run(configure: Configure, tmp_path: Path) -> None:
    mlflow = importlib.import_module("mlflow")
    uri = f"sqlite:///{tmp_path / 'ml.db'}"
    config, log = tiny_run(configure, f'mlflow: "{uri}"'), MetricsLog(tmp_path / "metrics.jsonl")
    client = mlflow.MlflowClient(tracking_uri=uri)
    for step, status in ((1, "KILLED"), (2, "FINISHED")):
        with RunTrackers(config, tmp_path, "run") as session:
            a_step(log, step)
            if step == 2:
                session.finish(RESULT)
        (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        assert run.info.status == status
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "student/train/loss")] == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_wandb_stays_offline(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    importlib.import_module("wandb")
    api.distill(tiny_run(configure, "wandb: raykd"), tmp_path / "run")
    (file,) = (tmp_path / "run").rglob("offline-run-*/*.wandb")
    content = file.read_bytes()
    assert b"student/train/loss" in content
    assert b"final/validation/accuracy" in content

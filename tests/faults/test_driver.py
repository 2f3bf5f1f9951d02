"""The driver stopped and killed, a worker killed: the run goes on and ends as the undisturbed one does."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from logs import losses, step_times
from processes import finish, kill_9, result_of, start, wait_for, write_config

from raykd import api
from raykd import config as configuration

TRAIN = {"epochs": 3, "batch_size": 16, "lr": 2e-3, "log_every": 1, "eval_every": 5, "threads": 1}


def tiny_run(folder: Path, **train: Any) -> Path:
    """Dropout on, so that resuming must put the masks back."""
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.2}
    return write_config(folder, student=student, train=TRAIN | train)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)], ids=["ctrl-c", "sigterm"]
)
def test_a_request_to_stop_saves_and_the_same_command_goes_on(tmp_path: Path, stop: signal.Signals) -> None:
    config = tiny_run(tmp_path)
    finish("distill", config, tmp_path / "whole")
    process = start("distill", config, tmp_path / "parts")
    wait_for(lambda: len(losses(tmp_path / "parts")) >= 7, process)
    process.send_signal(stop)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert len([line for line in stderr.splitlines() if line.startswith("raykd: ")]) == 1
    before = step_times(tmp_path / "parts")
    stopped_at = len(before)
    assert stopped_at < 45
    assert (tmp_path / "parts" / "checkpoints" / f"step-{stopped_at:08d}").exists()
    result = finish("distill", config, tmp_path / "parts")
    assert step_times(tmp_path / "parts")[:stopped_at] == before, "its steps were made again"
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert result["value"] == json.loads((tmp_path / "whole" / "result.json").read_text(encoding="utf-8"))["value"]


def newest_checkpoint(run: Path) -> int:
    """The step of the newest checkpoint; there must be one."""
    return max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def sha256(student: Path) -> str:
    return hashlib.sha256((student / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_kill_9_and_the_same_command_ends_with_the_same_student(tmp_path: Path) -> None:
    """Killed in mid-training, between two checkpoints; equal in every bit to the student made in this process."""
    config = tiny_run(tmp_path, epochs=6)
    api.distill(configuration.load(config), tmp_path / "whole")
    process = start("distill", config, tmp_path / "parts")
    wait_for(lambda: len(losses(tmp_path / "parts")) >= 8, process)
    kill_9(process)
    assert not (tmp_path / "parts" / "result.json").exists()
    saved_at, before = newest_checkpoint(tmp_path / "parts"), step_times(tmp_path / "parts")
    assert 5 <= saved_at < 6 * 15
    result = finish("distill", config, tmp_path / "parts")
    assert result["steps"] == 6 * 15
    assert step_times(tmp_path / "parts")[:saved_at] == before[:saved_at], "steps of the checkpoint were made again"
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert sha256(tmp_path / "parts" / "student") == sha256(tmp_path / "whole" / "student")


@pytest.mark.nightly
def test_kill_9_while_teachers_are_prepared_and_serve(tmp_path: Path) -> None:
    """In the teacher's fine-tuning, then in its pass: nothing finished is done again."""
    config = tiny_run(tmp_path)
    process = start("distill", config, tmp_path / "run")
    wait_for(lambda: (tmp_path / "cache" / "teachers").exists(), process)
    kill_9(process)
    process = start("distill", config, tmp_path / "run")
    wait_for(lambda: any((tmp_path / "cache" / "targets").glob("*")), process)
    kill_9(process)
    result = finish("distill", config, tmp_path / "run")
    assert result["steps"] == 45
    again = finish("distill", config, tmp_path / "again")
    assert again["teachers"][0]["rows_computed"] == 0
    assert losses(tmp_path / "again") == losses(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_worker_sends_the_group_back_to_the_last_cut(tmp_path: Path) -> None:
    """Two workers through Ray Train; one is killed in mid-epoch. Bit-equal, dropout included."""
    config = tiny_run(tmp_path, workers=2, checkpoint_every=5, epochs=20)
    finish("distill", config, tmp_path / "whole")
    process = start("distill", config, tmp_path / "parts")
    wait_for(lambda: len(losses(tmp_path / "parts")) >= 12, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    assert len(workers) >= 2
    saved_at, before = newest_checkpoint(tmp_path / "parts"), step_times(tmp_path / "parts")
    assert 10 <= saved_at < 300
    workers[-1].kill()
    assert result_of(process, 200)["steps"] == 300
    assert step_times(tmp_path / "parts")[:saved_at] == before[:saved_at], "steps of the checkpoint were made again"
    np.testing.assert_array_equal(losses(tmp_path / "parts"), losses(tmp_path / "whole"))


@pytest.mark.slow
def test_ctrl_c_with_two_workers(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, workers=2, epochs=40)
    process = start("distill", config, tmp_path / "run")
    wait_for(lambda: len(losses(tmp_path / "run")) >= 10, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    stopped_at = len(losses(tmp_path / "run"))
    assert 10 <= stopped_at < 600
    assert (tmp_path / "run" / "checkpoints" / f"step-{stopped_at:08d}").exists()

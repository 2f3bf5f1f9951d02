"""The driver stopped and killed, a worker killed: the run goes on and ends as the undisturbed one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from tiny import tiny_config

from raykd.records.log import read_events

TRAIN = {"epochs": 3, "batch_size": 16, "lr": 2e-3, "log_every": 1, "eval_every": 5, "threads": 1}


def write_config(folder: Path, **train: Any) -> Path:
    """Dropout on, so that resuming must put the masks back."""
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.2}
    raw = tiny_config({"student": student, "train": TRAIN | train}, folder / "cache")
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def start(config: Path, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "raykd.cli", "distill", str(config), "--output", str(out), "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def finish(config: Path, out: Path) -> dict[str, Any]:
    process = start(config, out)
    stdout, stderr = process.communicate(timeout=150)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def steps(out: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(out / "metrics.jsonl") if event["event"] == "step"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def losses(out: Path) -> list[float]:
    return [event["loss"] for event in steps(out)]


def end_orphans(before: set[int]) -> None:
    """A driver killed with −9 leaves its Ray behind: ends what this test has started, by id."""
    for process in psutil.process_iter(["pid", "name"]):
        if process.pid not in before and process.info["name"] in ("raylet", "gcs_server"):
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("said", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_request_to_stop_saves_and_the_same_command_goes_on(tmp_path: Path, said: signal.Signals) -> None:
    config = write_config(tmp_path)
    finish(config, tmp_path / "whole")
    process = start(config, tmp_path / "parts")
    wait_for(lambda: len(steps(tmp_path / "parts")) >= 7, process)
    process.send_signal(said)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert len([line for line in stderr.splitlines() if line.startswith("raykd: ")]) == 1
    stopped_at = len(steps(tmp_path / "parts"))
    assert stopped_at < 45
    result = finish(config, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert result["value"] == json.loads((tmp_path / "whole" / "result.json").read_text(encoding="utf-8"))["value"]


@pytest.mark.slow
def test_kill_9_and_the_same_command_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    finish(config, tmp_path / "whole")
    process, before = start(config, tmp_path / "parts"), set(psutil.pids())
    wait_for(lambda: len(steps(tmp_path / "parts")) >= 8, process)
    process.kill()
    process.communicate()
    end_orphans(before)
    finish(config, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9_while_teachers_are_prepared_and_serve(tmp_path: Path) -> None:
    """In the teacher's fine-tuning, then in its pass: nothing finished is done again."""
    config = write_config(tmp_path)
    process, before = start(config, tmp_path / "run"), set(psutil.pids())
    wait_for(lambda: (tmp_path / "cache" / "teachers").exists(), process)
    process.kill()
    process.communicate()
    end_orphans(before)
    process, before = start(config, tmp_path / "run"), set(psutil.pids())
    wait_for(lambda: any((tmp_path / "cache" / "targets").glob("*")), process)
    process.kill()
    process.communicate()
    end_orphans(before)
    result = finish(config, tmp_path / "run")
    assert result["steps"] == 45
    again = finish(config, tmp_path / "again")
    assert again["teachers"][0]["rows_computed"] == 0
    assert losses(tmp_path / "again") == losses(tmp_path / "run")


@pytest.mark.slow
def test_a_killed_worker_sends_the_group_back_to_the_last_cut(tmp_path: Path) -> None:
    """Two workers through Ray Train; one is killed in mid-epoch. Bit-equal, dropout included."""
    config = write_config(tmp_path, workers=2, checkpoint_every=5, epochs=20)
    finish(config, tmp_path / "whole")
    process = start(config, tmp_path / "parts")
    wait_for(lambda: len(steps(tmp_path / "parts")) >= 12, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    assert len(workers) >= 2
    workers[-1].kill()
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["steps"] == 300
    np.testing.assert_array_equal(losses(tmp_path / "parts"), losses(tmp_path / "whole"))


@pytest.mark.slow
def test_ctrl_c_with_two_workers(tmp_path: Path) -> None:
    config = write_config(tmp_path, workers=2, epochs=40)
    process = start(config, tmp_path / "run")
    wait_for(lambda: len(steps(tmp_path / "run")) >= 10, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    stopped_at = len(steps(tmp_path / "run"))
    assert 10 <= stopped_at < 600
    assert (tmp_path / "run" / "checkpoints" / f"step-{stopped_at:08d}").exists()

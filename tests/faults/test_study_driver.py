"""The driver of a study stopped and killed: `--resume` keeps what is finished and goes on with what was running."""

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

import pandas as pd
import psutil
import pytest
import yaml
from tiny import tiny_config

from raykd.records.log import read_events

EPOCHS, STEPS = 12, 12 * 15
TEMPERATURES = [1.0, 2.0, 3.0, 4.0]


def write_config(folder: Path) -> Path:
    train = {"epochs": EPOCHS, "batch_size": 16, "lr": 2e-3, "log_every": 1, "eval_every": 15, "threads": 1}
    study = {
        "space": {"objective.temperature": {"grid": TEMPERATURES}},
        "searcher": "grid", "scheduler": "none", "concurrency": 2, "repeat": {"top_k": 0},
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tiny_config({"train": train, "study": study}, folder / "cache")), encoding="utf-8")
    return path


def start(config: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "raykd.cli", "study", str(config), "--output", str(out), "--json", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def finish(config: Path, out: Path, *more: str) -> dict[str, Any]:
    process = start(config, out, *more)
    stdout, stderr = process.communicate(timeout=150)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def steps(out: Path, trial: str) -> list[int]:
    events = read_events(out / "trials" / trial / "metrics.jsonl")
    return [event["step"] for event in events if event["event"] == "step"]


def results(out: Path) -> list[str]:
    return [path.parent.name for path in out.glob("trials/*/result.json")]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kills the driver; the Ray that it leaves behind is ended too, by the ids of its own processes."""
    ours = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    for one in ours:
        if one.is_running() and one.name() in ("raylet", "gcs_server"):
            one.kill()


def in_the_middle(out: Path) -> bool:
    """One trial is finished, and another well on its way."""
    done = results(out)
    if not done:
        return False
    running = [path.name for path in (out / "trials").iterdir() if path.name not in done]
    return any(30 < len(steps(out, trial)) < STEPS - 30 for trial in running)


def values(out: Path) -> dict[str, float]:
    table = pd.read_parquet(out / "trials.parquet")
    assert set(table["state"]) == {"done"}
    return dict(zip(table["trial"], table["value"], strict=True))


@pytest.mark.slow
def test_kill_9_in_the_middle_and_resume(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    finish(config, tmp_path / "whole")
    process = start(config, tmp_path / "parts")
    wait_for(lambda: in_the_middle(tmp_path / "parts"), process)
    kill_9(process)
    done = results(tmp_path / "parts")
    stamps = {name: (tmp_path / "parts" / "trials" / name / "result.json").stat().st_mtime_ns for name in done}
    refused = start(config, tmp_path / "parts")
    _, stderr = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "--resume" in stderr
    result = finish(config, tmp_path / "parts", "--resume")
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert values(tmp_path / "parts") == values(tmp_path / "whole")  # bit-equal, from their last cuts
    for name, stamp in stamps.items():
        assert (tmp_path / "parts" / "trials" / name / "result.json").stat().st_mtime_ns == stamp
    for name in result["best"]["runs"]:
        assert steps(tmp_path / "parts", name) == list(range(1, STEPS + 1))
    assert result["sharing"]["rows_computed"] == 0  # the first study of this test had them computed


@pytest.mark.slow
def test_ctrl_c_saves_all_trials_and_resume_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    process = start(config, tmp_path / "study")
    wait_for(lambda: in_the_middle(tmp_path / "study"), process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("raykd: ")]
    assert "--resume goes on" in line
    done = results(tmp_path / "study")
    assert 1 <= len(done) < 4
    saved = [path.parent.parent.name for path in (tmp_path / "study").glob("trials/*/checkpoints/step-*")]
    assert saved
    result = finish(config, tmp_path / "study", "--resume")
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert result["sharing"]["rows_computed"] == 240 + 80

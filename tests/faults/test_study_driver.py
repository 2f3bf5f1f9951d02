"""The driver of a study stopped and killed: `--resume` keeps what is finished and goes on with what was running."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from logs import events
from processes import finish, kill_9, result_of, start, wait_for, write_config
from ray.cluster_utils import Cluster

EPOCHS, STEPS = 12, 12 * 15
TEMPERATURES = [1.0, 2.0, 3.0, 4.0]


def tiny_study(folder: Path, **changes: Any) -> Path:
    train = {"epochs": EPOCHS, "batch_size": 16, "lr": 2e-3, "log_every": 1, "eval_every": 15, "threads": 1} | changes
    study = {
        "space": {"objective.temperature": {"grid": TEMPERATURES}},
        "searcher": "grid", "scheduler": "none", "concurrency": 2, "repeat": {"top_k": 0},
    }  # fmt: skip
    return write_config(folder, train=train, study=study)


def steps(out: Path, trial: str) -> list[int]:
    return [event.step for event in events(out / "trials" / trial, "step")]


def results(out: Path) -> list[str]:
    return [path.parent.name for path in out.glob("trials/*/result.json")]


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study's configuration, and the folder of a run of it."""
    folder = tmp_path_factory.mktemp("study")
    config = tiny_study(folder)
    finish("study", config, folder / "whole")
    return config, folder / "whole"


@pytest.mark.slow
def test_a_trial_whose_process_dies_goes_on_from_its_last_cut(tmp_path: Path, undisturbed: tuple[Path, Path]) -> None:
    config, whole = undisturbed
    process = start("study", config, tmp_path)
    wait_for(lambda: in_the_middle(tmp_path), process)
    trials = [child for child in psutil.Process(process.pid).children(recursive=True) if is_trial(child)]
    assert trials
    for trial in trials:
        trial.kill()
    result = result_of(process)
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert values(tmp_path) == values(whole)
    begun = Counter(event.trial for event in events(tmp_path, "trial_started"))
    assert 4 < begun.total() <= 4 + len(trials)
    for name in begun:
        assert steps(tmp_path, name) == list(range(1, STEPS + 1))


def is_trial(process: psutil.Process) -> bool:
    """Whether it is one of the processes in which Ray Tune runs trials."""
    return "".join(process.cmdline()).startswith("ray::ImplicitFunc")


@pytest.mark.slow
def test_kill_9_in_the_middle_and_resume(tmp_path: Path, undisturbed: tuple[Path, Path]) -> None:
    config, whole = undisturbed
    process = start("study", config, tmp_path / "parts")
    wait_for(lambda: in_the_middle(tmp_path / "parts"), process)
    kill_9(process)
    done = results(tmp_path / "parts")
    stamps = {name: (tmp_path / "parts" / "trials" / name / "result.json").stat().st_mtime_ns for name in done}
    refused = start("study", config, tmp_path / "parts")
    _, stderr = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "--resume" in stderr
    result = finish("study", config, tmp_path / "parts", "--resume")
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert values(tmp_path / "parts") == values(whole)  # bit-equal, from their last cuts
    for name, stamp in stamps.items():
        assert (tmp_path / "parts" / "trials" / name / "result.json").stat().st_mtime_ns == stamp
    for name in result["best"]["runs"]:
        assert steps(tmp_path / "parts", name) == list(range(1, STEPS + 1))
    assert result["sharing"]["rows_computed"] == 0  # the undisturbed study had them computed


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_lost_node_takes_no_trial_with_it(tmp_path: Path, undisturbed: tuple[Path, Path]) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6, "include_dashboard": False})
    try:
        places = [cluster.add_node(num_cpus=2, resources={"trial_slot": 1}) for _ in range(2)]
        config = tiny_study(tmp_path, worker_resources={"trial_slot": 1})
        process = start("study", config, tmp_path / "study", "--address", cluster.address)
        wait_for(lambda: in_the_middle(tmp_path / "study"), process, 240)
        cluster.remove_node(places[0], allow_graceful=False)
        result = result_of(process, 300)
    finally:
        cluster.shutdown()
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert values(tmp_path / "study") == values(undisturbed[1])
    begun = Counter(event.trial for event in events(tmp_path / "study", "trial_started"))
    assert begun.total() == 4 + 1  # one was on the node
    for name in begun:
        assert steps(tmp_path / "study", name) == list(range(1, STEPS + 1))


@pytest.mark.nightly
def test_ctrl_c_saves_all_trials_and_resume_goes_on(tmp_path: Path) -> None:
    config = tiny_study(tmp_path)
    process = start("study", config, tmp_path / "study")
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
    result = finish("study", config, tmp_path / "study", "--resume")
    assert result["trials"] == {"done": 4, "stopped": 0, "failed": 0}
    assert result["sharing"]["rows_computed"] == 240 + 80

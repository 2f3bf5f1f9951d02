"""For ten minutes replicas, services, the keeper, workers and nodes are killed at random: each run ends as alone."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from chaos import PROCESSES, Chaos, processes, schedule
from logs import losses
from processes import finish, result_of, start
from ray.cluster_utils import Cluster
from tiny import TINY_TEACHER, tiny_config

SECONDS = float(os.environ.get("RAYKD_CHAOS_SECONDS", "600"))
SEED = int(os.environ.get("RAYKD_CHAOS_SEED", "0"))
"""To play a schedule again that the log of a failed test shows."""
MEAN_PAUSE_S = 8.0
ROWS, VALIDATION_ROWS = 3000, 100
KINDS = [*PROCESSES, "node"]


def test_the_same_seed_is_the_same_schedule() -> None:
    blows = schedule(1, 600, KINDS, MEAN_PAUSE_S)
    assert blows == schedule(1, 600, KINDS, MEAN_PAUSE_S) != schedule(2, 600, KINDS, MEAN_PAUSE_S)
    assert {blow.kind for blow in blows} == set(KINDS)
    assert 40 < len(blows) < 120
    assert all(before.at_s <= after.at_s < 600 for before, after in itertools.pairwise(blows))


def config_of(cache: Path, data_seed: int, **changes: Any) -> dict[str, Any]:
    """A run on rows of its own; two workers, dropout 0, float64: nothing that is killed may be seen in it."""
    generated = {"rows": ROWS, "validation_rows": VALIDATION_ROWS, "domains": 2, "seed": data_seed}
    teacher = TINY_TEACHER | {"name": "tiny", "precision": "float64", "batch_tokens": 128, "threads": 1, "replicas": 2}
    raw = tiny_config(
        {
            "name": "run",
            "data": {"source": "generated", "max_length": 24, "generated": generated},
            "teachers": [teacher],
        },
        cache,
    )
    raw["train"] |= {
        "precision": "float64", "workers": 2, "overlap": True, "checkpoint_every": 20, "epochs": 2, "max_failures": 50,
    }  # fmt: skip
    return raw | changes


def slotted(raw: dict[str, Any]) -> dict[str, Any]:
    """Replicas on the nodes for teachers, students on the head."""
    teachers = [
        teacher | {"resources": {"teacher_slot": 1}} if "ensemble" not in teacher else teacher
        for teacher in raw["teachers"]
    ]
    for teacher in teachers:
        if "finetune" in teacher:
            teacher["finetune"] = teacher["finetune"] | {"worker_resources": {"student_slot": 1}}
    return raw | {"teachers": teachers, "train": raw["train"] | {"worker_resources": {"student_slot": 1}}}


def written(path: Path, raw: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.mark.nightly
@pytest.mark.timeout(3 * SECONDS + 900)
def test_runs_end_as_alone_whatever_is_killed(tmp_path: Path) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "resources": {"student_slot": 4}, "include_dashboard": False},
    )
    nodes = [cluster.add_node(num_cpus=4, resources={"teacher_slot": 2}) for _ in range(2)]

    def lose_node() -> None:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=4, resources={"teacher_slot": 2}))

    address, cache = cluster.address, tmp_path / "cache"
    ensemble = slotted(config_of(cache, 0, name="shared", cluster={"lease_s": 60}))
    serve("up", written(tmp_path / "shared.yaml", ensemble), "--output", tmp_path / "up", address=address)
    chaos = Chaos(schedule(SEED, SECONDS, KINDS, MEAN_PAUSE_S), lose_node)

    def train() -> int:
        """One run after the other while there is chaos; how many there were."""
        for run in itertools.count():
            raw = slotted(config_of(cache, 1 + run, teachers=[{"ensemble": "shared"}], cluster={"lease_s": 60}))
            path = written(tmp_path / f"run{run}.yaml", raw)
            result_of(start("distill", path, tmp_path / f"run{run}", "--address", address), SECONDS + 600)
            if chaos.over.is_set():
                break
        return run + 1

    with ThreadPoolExecutor(1) as executor:
        training = executor.submit(train)
        try:
            chaos.run(training.done)
        finally:
            print(f"seed {SEED}:", *chaos.log, sep="\n")
        runs = training.result()
    serve("down", "shared", "--force", address=address)
    wait_gone(["ray::ModelReplica", "ray::TeacherService", "ray::EnsembleKeeper"])
    cluster.shutdown()

    own = tmp_path / "own"
    shutil.copytree(cache / "teachers", own / "teachers")
    (checkpoint,) = [path.parent for path in (own / "teachers").glob("*/config.json")]
    given = {"name": "tiny", "model": str(checkpoint), "precision": "float64", "labels": ["negative", "positive"]}
    for k in range(runs):
        alone = written(tmp_path / f"alone{k}.yaml", config_of(own, 1 + k, teachers=[given]))
        finish("distill", alone, tmp_path / f"alone{k}", "train.workers=1", seconds=300)
        np.testing.assert_allclose(losses(tmp_path / f"run{k}"), losses(tmp_path / f"alone{k}"), rtol=1e-8)


def serve(*words: object, address: str) -> dict[str, Any]:
    given = [sys.executable, "-m", "raykd.cli", "serve", *map(str, words), "--address", address, "--json"]
    return result_of(subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), 300)


def wait_gone(titles: list[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while left := [process.pid for title in titles for process in processes(title)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.2)

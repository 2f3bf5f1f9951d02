"""Several nodes and several drivers: one pass of the teacher for all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster
from tiny import tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without slots, one node for teachers, one for students."""
    one = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    one.add_node(num_cpus=4, resources={"teacher_slot": 4})
    one.add_node(num_cpus=8, resources={"student_slot": 8})
    yield one
    one.shutdown()


def write_config(folder: Path, **changes: Any) -> Path:
    raw = tiny_config(changes, folder / "cache")
    raw["teachers"][0] |= {"resources": {"teacher_slot": 1}}
    raw["teachers"][0]["finetune"] = raw["teachers"][0]["finetune"] | {"worker_resources": {"student_slot": 1}}
    raw["train"] |= {"worker_resources": {"student_slot": 1}}
    raw["cluster"] |= {"lease_s": 15}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def start(config: Path, out: Path, address: str, *overrides: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "raykd.cli", "distill", str(config), *overrides]
    words += ["--output", str(out), "--address", address, "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_two_drivers_started_together_cost_one_pass(cluster: Cluster, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    drivers = [start(config, tmp_path / f"run{k}", cluster.address, f"seed={k}") for k in range(2)]
    results = []
    for driver in drivers:
        stdout, stderr = driver.communicate(timeout=300)
        assert driver.returncode == 0, stderr
        results.append(json.loads(stdout.splitlines()[-1]))
    assert sum(result["teachers"][0]["rows_computed"] for result in results) == 240 + 80
    assert results[0]["teachers"][0]["metric"] == results[1]["teachers"][0]["metric"]


def test_two_workers_on_nodes_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    driver = start(config, tmp_path / "run", cluster.address, "train.workers=2")
    stdout, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    assert result["teachers"][0]["rows_computed"] == 240 + 80
    assert result["efficiency"]["hit_rate"] <= 1.0

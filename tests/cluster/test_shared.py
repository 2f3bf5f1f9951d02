"""Several nodes and several drivers: one pass of the teacher for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from logs import events, losses
from processes import finish, result_of, start, write_config
from ray.cluster_utils import Cluster
from tiny import TOKENIZER_TEACHERS, tiny_config

from raykd.weighting.policy import model as policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SHARED_POLICY = {"type": "policy", "reward": {"every": 2}, "shared": "common"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without slots, one node for teachers, one for students."""
    one = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    one.add_node(num_cpus=4, resources={"teacher_slot": 4})
    one.add_node(num_cpus=8, resources={"student_slot": 8})
    yield one
    one.shutdown()


def slotted(folder: Path, **changes: Any) -> Path:
    """Teachers and students ask for slots that only their own node has."""
    raw = tiny_config(changes, folder / "cache")
    student = {"worker_resources": {"student_slot": 1}}
    teachers = [
        teacher | {"resources": {"teacher_slot": 1}, "finetune": teacher["finetune"] | student}
        for teacher in raw["teachers"]
    ]
    cluster = raw["cluster"] | {"lease_s": 15}
    return write_config(folder, **changes | {"teachers": teachers, "train": raw["train"] | student, "cluster": cluster})


def test_two_drivers_started_together_cost_one_pass(cluster: Cluster, tmp_path: Path) -> None:
    config = slotted(tmp_path)
    drivers = [
        start("distill", config, tmp_path / f"run{k}", f"seed={k}", "--address", cluster.address) for k in range(2)
    ]
    results = [result_of(driver, 300) for driver in drivers]
    assert sum(result["teachers"][0]["rows_computed"] for result in results) == 240 + 80
    assert results[0]["teachers"][0]["metric"] == results[1]["teachers"][0]["metric"]


def test_two_workers_on_nodes_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    config = slotted(tmp_path)
    words = ("train.workers=2", "--address", cluster.address)
    result = finish("distill", config, tmp_path / "run", *words, seconds=300)
    assert result["teachers"][0]["rows_computed"] == 240 + 80
    assert result["steps"] == 2 * 8  # two epochs of 240 rows in batches of 32, however many workers share one
    assert len(losses(tmp_path / "run")) == 16


@pytest.mark.nightly
def test_two_drivers_feed_one_policy_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """Both of their rewarded steps make it, and both use the states' scaling of the first: they train on other rows."""
    config = slotted(tmp_path, teachers=TOKENIZER_TEACHERS, weighting=SHARED_POLICY)
    # Long enough that they meet, although one of them has begun some seconds before the other.
    words = ("train.epochs=40", "--address", cluster.address)
    folders = [tmp_path / f"run{k}" for k in range(2)]
    drivers = [
        start("distill", config, folder, f"data.seed={k}", "data.max_train_rows=200", *words)
        for k, folder in enumerate(folders)
    ]
    results = [result_of(driver, 300) for driver in drivers]
    spans = [[event.time for event in events(folder, "step")] for folder in folders]
    assert max(span[0] for span in spans) < min(span[-1] for span in spans), "they did not run at once"
    rewarded = 40 * 7 // 2  # every second of 7 steps of 200 rows, forty times
    assert max(result["weighting"]["updates"] for result in results) == 2 * rewarded
    first, second = (policy.load(folder / "policy").scaling for folder in folders)
    assert all(torch.equal(value, second[name]) for name, value in first.items())

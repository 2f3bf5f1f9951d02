"""Several nodes and several drivers: one pass of the teacher for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from logs import losses
from processes import finish, result_of, start, write_config
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


def slotted(folder: Path) -> Path:
    """Teachers and students ask for slots that only their own node has."""
    raw = tiny_config({}, folder / "cache")
    teacher = raw["teachers"][0] | {"resources": {"teacher_slot": 1}}
    teacher["finetune"] = teacher["finetune"] | {"worker_resources": {"student_slot": 1}}
    train = raw["train"] | {"worker_resources": {"student_slot": 1}}
    return write_config(folder, teachers=[teacher], train=train, cluster=raw["cluster"] | {"lease_s": 15})


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

"""A group of student workers that grows and shrinks with the nodes: the losses of the run of one worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logs import events, losses
from processes import finish, result_of, wait_for, write_config
from ray.cluster_utils import Cluster
from tiny import TINY_TEACHER

PROGRAM = """
from raykd.cli import main
from raykd.training import launch

launch.RESIZE_S = 2.0
main()
"""


def elastic_run(folder: Path, **train: Any) -> Path:
    """Few steps, that Adam does not make much of what is lost in rounding, but long ones; in float64, dropout 0."""
    settings = {
        "epochs": 20, "batch_size": 32, "lr": 1e-3, "log_every": 1, "checkpoint_every": 4, "threads": 1,
        "precision": "float64",
    }  # fmt: skip
    teacher = TINY_TEACHER | {"precision": "float64"}
    student = {"layers": 4, "hidden_size": 192, "heads": 4, "vocab_size": 300, "dropout": 0.0}
    return write_config(folder, train=settings | train, teachers=[teacher], student=student)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_group_that_grows_and_shrinks_learns_the_same(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6, "include_dashboard": False})
    out = tmp_path / "run"
    try:
        place: dict[str, Any] = {"num_cpus": 2, "resources": {"student_slot": 1}}
        cluster.add_node(**place)
        slot = {"worker_resources": {"student_slot": 1}}
        config = elastic_run(tmp_path, workers=2, min_workers=1, **slot)
        words = [sys.executable, "-c", PROGRAM, "distill", str(config), "--output", str(out), "--json"]
        process = subprocess.Popen(
            [*words, "--address", cluster.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

        def until(count: int) -> None:
            wait_for(lambda: at_work(out, count), process, 150)

        until(1)
        more = cluster.add_node(**place)
        until(2)
        cluster.remove_node(more, allow_graceful=False)
        until(1)
        result_of(process, 300)
    finally:
        cluster.shutdown()
    assert [event.workers for event in events(out, "workers")] == [1, 2, 1]
    alone = ("train.workers=1", "train.min_workers=null", "train.worker_resources={}")
    finish("distill", config, tmp_path / "solo", *alone, seconds=300)  # on the same targets
    np.testing.assert_allclose(losses(out), losses(tmp_path / "solo"), rtol=1e-8)


def at_work(out: Path, count: int) -> bool:
    """Whether the newest group has so many workers and has made steps."""
    if not (out / "metrics.jsonl").exists():
        return False
    groups = events(out, "workers")
    return (
        bool(groups)
        and groups[-1].workers == count
        and events(out, "step")[-1:] != []
        and (events(out, "step")[-1].step > groups[-1].step + 5)
    )

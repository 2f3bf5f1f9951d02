"""An object store that others have filled: answers go over Ray's files on disk, and the student is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logs import losses
from processes import finish, write_config
from ray.cluster_utils import Cluster
from tiny import TINY_TEACHER

STORE_MB, HELD_MB = 100, 200
HOLDER = f"""
import sys, numpy, ray
ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.put(numpy.full(20 << 20, k, numpy.uint8)) for k in range({HELD_MB} // 20)]
print("full", flush=True)
sys.stdin.read()
print(*(int(ray.get(ref).mean()) for ref in held), flush=True)
"""
"""Puts twice the store into it, and at the end reads it back."""


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_full_object_store_changes_no_student(tmp_path: Path) -> None:
    """Inner outputs of a whole call are 0.5 MB: they cross the store, as logits of small calls do not."""
    teacher = TINY_TEACHER | {"name": "big", "precision": "float64", "batch_tokens": 4096}
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "dropout": 0.0, "vocab_size": 400}
    changes: dict[str, Any] = {
        "teachers": [teacher],
        "objective": {"type": "kl", "features": {"hidden": 1.0, "attention": 0.1, "store_mb": 0}},
        "train": {
            "epochs": 2, "batch_size": 32, "lr": 2e-3, "log_every": 1, "threads": 1, "precision": "float64",
        },
    }  # fmt: skip
    config = write_config(tmp_path, **changes, student=student)
    finish("distill", config, tmp_path / "alone")
    head = {"num_cpus": 8, "object_store_memory": STORE_MB << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        words = [sys.executable, "-c", HOLDER, cluster.address]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "full\n"
            finish("distill", config, tmp_path / "full", "--address", cluster.address, seconds=400)
            rest, _ = holder.communicate(timeout=60)
        finally:
            holder.kill()
    finally:
        cluster.shutdown()
    assert rest.split() == [str(k) for k in range(HELD_MB // 20)]  # it was full to the end
    np.testing.assert_allclose(losses(tmp_path / "full"), losses(tmp_path / "alone"), rtol=1e-8)

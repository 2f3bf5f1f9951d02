"""A served ensemble on several nodes: jobs of their own share it while it grows and a node is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from logs import losses
from processes import finish, result_of, start, wait_for
from ray.cluster_utils import Cluster
from tiny import TINY_TEACHER, tiny_config

from raykd.teachers.serving.corpus_targets import SEGMENT_ROWS

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
ROWS, VALIDATION_ROWS = 12_000, 100
CALL_TOKENS = 96
"""Some 8 rows: at two calls in flight a replica that is lost takes as many as 16 rows with it."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head for students, and two nodes for replicas, two on each."""
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "resources": {"student_slot": 4}, "include_dashboard": False},
    )
    yield nodes
    nodes.shutdown()


def served_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """Of one teacher in float64, dropout 0; what is learnt depends on nothing that happens on the cluster."""
    data = {
        "source": "generated",
        "max_length": 24,
        "generated": {"rows": ROWS, "validation_rows": VALIDATION_ROWS, "domains": 2},
    }
    teacher = TINY_TEACHER | {
        "name": "tiny",
        "finetune": TINY_TEACHER["finetune"] | {"worker_resources": {"student_slot": 1}},
        "precision": "float64",
        "resources": {"teacher_slot": 1},
        "batch_tokens": CALL_TOKENS,
        "threads": 1,
    }
    raw = tiny_config({"name": "shared", "data": data, "teachers": [teacher]}, folder / "cache")
    raw["train"] |= {"precision": "float64", "worker_resources": {"student_slot": 1}, "overlap": True, "epochs": 1}
    raw["cluster"] |= {"lease_s": 30}
    return raw | changes


def written(path: Path, raw: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def program(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def serve(*words: str, address: str) -> dict[str, Any]:
    return result_of(program("-m", "raykd.cli", "serve", *words, "--address", address, "--json"), 300)


def test_two_jobs_share_an_ensemble_that_grows_and_loses_a_node(cluster: Cluster, tmp_path: Path) -> None:
    """Both equal their runs alone, and each row is computed once but for those in flight on the lost node."""
    cluster.add_node(num_cpus=4, resources={"teacher_slot": 1})
    doomed = cluster.add_node(num_cpus=4, resources={"teacher_slot": 2})
    address = cluster.address
    config = written(tmp_path / "shared.yaml", served_config(tmp_path))
    up = serve("up", str(config), "--output", str(tmp_path / "up"), address=address)
    assert [each["state"] for each in up["teachers"]["tiny"]["service"]["replicas"]] == ["idle"]

    job = written(tmp_path / "job.yaml", served_config(tmp_path, name="job", teachers=[{"ensemble": "shared"}]))
    watcher = program("-m", "ensemble_watcher", "shared", address, "tiny", "300", "3", str(tmp_path))
    jobs = [start("distill", job, tmp_path / f"job{k}", f"seed={k}", "--address", address) for k in range(2)]
    wait_for(lambda: (tmp_path / "scaled").exists(), watcher, 300)
    cluster.remove_node(doomed, allow_graceful=False)
    results = [result_of(each, 300) for each in jobs]
    time.sleep(2)  # the watcher's last look is after the end
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    (tmp_path / "stop").touch()
    watcher.communicate(timeout=60)

    assert sum(result["teachers"][0]["rows_computed"] for result in results) == ROWS + VALIDATION_ROWS
    forwards, lost = (sum(each[key] for each in rows.values()) for key in ("forwards", "lost"))
    assert lost <= 2 * 2 * 16  # in flight on the two replicas of the lost node
    assert forwards >= ROWS + VALIDATION_ROWS
    if len(rows) == 1:  # the service was on another node; and the rows of the probe of `up`
        assert forwards == ROWS + VALIDATION_ROWS + 4
    else:  # what it had not yet written is computed again
        assert forwards <= ROWS + VALIDATION_ROWS + 4 + SEGMENT_ROWS
    serve("down", "shared", "--force", address=address)

    own = tmp_path / "own"
    shutil.copytree(tmp_path / "cache" / "teachers", own / "cache" / "teachers")
    alone = without_slots(served_config(own, name="job"))
    for k in range(2):
        solo = written(own / f"{k}.yaml", alone)
        finish("distill", solo, own / f"job{k}", f"seed={k}", seconds=300)
        np.testing.assert_allclose(losses(tmp_path / f"job{k}"), losses(own / f"job{k}"), rtol=1e-8)


def without_slots(raw: dict[str, Any]) -> dict[str, Any]:
    """For a local Ray, which has none; where things run is not part of what a teacher is."""
    teacher = raw["teachers"][0]
    plain = teacher | {"finetune": {**teacher["finetune"], "worker_resources": {}}, "resources": {}}
    return raw | {"teachers": [plain], "train": {**raw["train"], "worker_resources": {}}}


def test_a_study_and_a_plain_torch_student_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """Trials of Ray Tune and a loop that is not raykd's ask the same ensemble; every row is computed once."""
    cluster.add_node(num_cpus=4, resources={"teacher_slot": 1})
    address = cluster.address
    config = written(tmp_path / "shared.yaml", served_config(tmp_path))
    serve("up", str(config), "--output", str(tmp_path / "up"), address=address)
    study = {
        "trials": 2, "concurrency": 1, "space": {"objective.temperature": {"grid": [1.0, 4.0]}}, "searcher": "grid",
        "scheduler": "none", "repeat": {"top_k": 0},
    }  # fmt: skip
    searched = written(
        tmp_path / "study.yaml", served_config(tmp_path, name="study", teachers=[{"ensemble": "shared"}], study=study)
    )
    job = start("study", searched, tmp_path / "study", "--address", address)
    texts = [f"row {k} of the loop is {'good' if k % 2 else 'bad'}" for k in range(500)]
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "rows.parquet")
    checkpoint = next((tmp_path / "cache" / "teachers").glob("*/config.json")).parent
    loop = subprocess.run(
        [
            sys.executable, "-m", "raykd.workloads.served_torch_student", "shared", str(tmp_path / "rows.parquet"),
            str(checkpoint), str(tmp_path / "student"), "--epochs", "2",
        ],
        capture_output=True, text=True, env={**os.environ, "RAY_ADDRESS": address}, timeout=300, check=False,
    )  # fmt: skip
    assert loop.returncode == 0, loop.stderr
    assert "32 steps" in loop.stdout
    assert (tmp_path / "student" / "config.json").exists()
    result = result_of(job, 400)
    assert result["trials"]["done"] == 2
    service = serve("status", "shared", address=address)["teachers"]["tiny"]["service"]
    assert service["rows"]["forwards"] == ROWS + VALIDATION_ROWS + 4 + len(texts)
    assert service["rows"]["lost"] == 0

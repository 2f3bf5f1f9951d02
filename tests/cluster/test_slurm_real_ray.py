"""cluster/slurm.sh with a real Ray of two nodes on this machine, and a real run on them: only Slurm is a stand-in."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import write_config
from slurm_stand_ins import SlurmJob
from tiny import tiny_config

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(480),
    pytest.mark.skipif(sys.platform != "linux", reason="Slurm is for Linux, and so is the bash that its scripts need"),
]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie in it, whose paths may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="raykd-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def placed(folder: Path) -> Path:
    """A tiny run whose teacher and student ask for what only their own node has."""
    raw = tiny_config({}, folder / "cache")
    student = {"worker_resources": {"student_slot": 1}}
    place = {"resources": {"teacher_slot": 1}, "node_labels": {"raykd-role": "teacher"}}
    teachers = [teacher | place | {"finetune": teacher["finetune"] | student} for teacher in raw["teachers"]]
    return write_config(
        folder, teachers=teachers, train=raw["train"] | student, cluster=raw["cluster"] | {"lease_s": 5}
    )


def rays_of(folder: Path) -> list[psutil.Process]:
    """Ray's own processes that have their files in this folder."""
    named = [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]]
    return [process for process in named if any(str(folder) in word for word in process.info["cmdline"])]


def test_a_run_on_the_nodes_of_a_job(tmp_path: Path, short_folder: Path) -> None:
    variables = {
        "SLURM_CPUS_PER_TASK": "4", "SLURM_GPUS_ON_NODE": "0", "RAYKD_TMPDIR": str(short_folder),
        "RAYKD_JOIN_TIMEOUT_S": "120",
    }  # fmt: skip
    job = SlurmJob(tmp_path, nodes=2, real_ray=True, variables=variables)
    command = (sys.executable, "-m", "raykd.cli", "distill", str(placed(tmp_path)), "--output", str(tmp_path / "run"))
    process = job.start("slurm.sh", *command, "train.epochs=1", "--json")
    try:
        while process.poll() is None and not rays_of(short_folder):
            time.sleep(0.5)
        assert process.poll() is None, process.communicate()[1]
        stdout, stderr = process.communicate(timeout=420)
    finally:
        process.terminate()
    assert process.returncode == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    assert result["teachers"][0]["rows_computed"] == 240 + 80
    assert (tmp_path / "run" / "student" / "model.safetensors").exists()
    _, alive = psutil.wait_procs(rays_of(short_folder), timeout=10)
    assert alive == []

"""cluster/slurm.sh and slurm_symmetric_run.sh, run with stand-ins for srun, scontrol, ray and raykd."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.scripts import scripts as ray_cli
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args
from slurm_stand_ins import SCRIPTS, SlurmJob

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Slurm is for Linux, and so is the bash that its scripts need"
)
CLASSIC, SYMMETRIC = "slurm.sh", "slurm_symmetric_run.sh"
BOTH = pytest.mark.parametrize("script", [CLASSIC, SYMMETRIC])
DISTILL = ("raykd", "distill", "run.yaml", "train.epochs=1")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[SlurmJob]:
    """Two nodes: a head that is the teachers' too, and one for students."""
    made = SlurmJob(tmp_path, nodes=2)
    yield made
    made.end()


@pytest.fixture(scope="module", params=[CLASSIC, SYMMETRIC])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SlurmJob:
    """A job of two nodes for teachers and two for students that a script has run to its end."""
    job = SlurmJob(tmp_path_factory.mktemp("job"), nodes=4, variables={"RAYKD_TEACHER_NODES": "2"})
    status, stderr = job.run(request.param, *DISTILL)
    assert status == 0, stderr
    return job


def option(command: str, name: str) -> str:
    """The value of `--name=value` or `--name value`."""
    found = re.search(rf"--{name}[= ](\{{.*?\}}|\S+)", command)
    assert found, f"no --{name} in {command}"
    return found[1]


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.02)


def test_the_command_starts_when_all_nodes_have_joined(finished: SlurmJob) -> None:
    assert (finished.state / "alive_at_start").read_text().split() == ["4"]
    assert finished.commands("raykd ") == ["raykd distill run.yaml train.epochs=1"]
    # 123456 is the job's id; the stand-in's host has an IPv6 address first.
    assert (finished.state / "address").read_text().split() == ["127.0.0.1:23456"]


@BOTH
def test_the_commands_status_is_the_scripts(script: str, job: SlurmJob) -> None:
    job.variables["COMMAND_STATUS"] = "3"
    assert job.run(script, *DISTILL)[0] == 3


@BOTH
def test_a_head_that_does_not_start_is_a_failure(script: str, job: SlurmJob) -> None:
    job.mark("refuse", 0)
    status, stderr = job.run(script, *DISTILL)
    assert status == 1
    assert script in stderr
    assert job.commands("raykd ") == []


def test_a_head_that_ends_ends_the_command(job: SlurmJob) -> None:
    (job.state / "work").touch()
    process = job.start(CLASSIC, *DISTILL)
    wait_for(job.state / "working")
    job.mark("end", 0)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "the head ended" in stderr
    assert (job.state / "saved").exists()


@pytest.mark.parametrize(
    ("kind", "seconds", "reason"), [("refuse", 60, "Ray ended on a node"), ("absent", 2, "joined within 2 s")]
)
def test_a_node_that_does_not_join_is_a_failure(kind: str, seconds: int, reason: str, job: SlurmJob) -> None:
    job.variables["RAYKD_JOIN_TIMEOUT_S"] = str(seconds)
    job.mark(kind, 1)
    status, stderr = job.run(CLASSIC, *DISTILL)
    assert status == 1
    assert reason in stderr
    assert job.commands("raykd ") == []
    assert list((job.state / "alive").iterdir()) == []


def test_sigterm_lets_the_command_save(job: SlurmJob) -> None:
    (job.state / "work").touch()
    process = job.start(CLASSIC, *DISTILL)
    wait_for(job.state / "working")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert (job.state / "saved").exists()
    assert list((job.state / "alive").iterdir()) == []


def test_the_token_is_in_the_environment_alone(finished: SlurmJob) -> None:
    (token,) = {finished.token(k) for k in range(4)}
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert len(set(token)) > 4
    assert [command for command in finished.commands() if token in command] == []


def test_each_job_has_a_token_of_its_own(job: SlurmJob) -> None:
    assert job.run(SYMMETRIC, *DISTILL)[0] == 0
    first = job.token(0)
    (job.state / "over").unlink()
    assert job.run(CLASSIC, *DISTILL)[0] == 0
    assert job.token(0) != first


def test_the_dashboard_listens_on_the_head_alone(finished: SlurmJob) -> None:
    head, *others = sorted(finished.commands("ray "), key=lambda command: "--dashboard-host" not in command)
    assert option(head, "dashboard-host") == "127.0.0.1"
    assert [command for command in others if "dashboard" in command] == []


@BOTH
def test_nothing_listens_on_all_interfaces(script: str) -> None:
    assert "0.0.0.0" not in (SCRIPTS / script).read_text(encoding="utf-8")


def test_each_role_has_nodes_of_its_own(finished: SlurmJob) -> None:
    commands = finished.commands("ray ")
    roles = [(option(command, "labels"), json.loads(option(command, "resources"))) for command in commands]
    # A teacher's place for each of two GPUs, a student's for each of eight CPUs.
    teacher, student = ("raykd-role=teacher", {"teacher_slot": 2}), ("raykd-role=student", {"student_slot": 8})
    assert sorted(roles, key=str) == [student, student, teacher, teacher]
    sizes = {(option(command, "num-cpus"), option(command, "num-gpus")) for command in commands}
    assert sizes == {("8", "2")}


def test_a_single_node_has_both_roles(job: SlurmJob) -> None:
    job.nodes = 1
    job.variables["SLURM_GPUS_ON_NODE"] = "0"
    assert job.run(CLASSIC, *DISTILL)[0] == 0
    (head,) = job.commands("ray ")
    assert json.loads(option(head, "resources")) == {"teacher_slot": 8, "student_slot": 8}


def test_steps_have_the_jobs_environment_and_cpus(finished: SlurmJob) -> None:
    """sbatch --export=NONE and Slurm 22.05 would take both from srun."""
    steps = [command for command in finished.commands("srun ") if "hostname" not in command]
    assert steps
    for command in steps:
        assert option(command, "export") == "ALL"
        assert option(command, "cpus-per-task") == "8"
        assert option(command, "kill-on-bad-exit") == "0"


@BOTH
def test_what_cannot_start_is_refused(script: str, job: SlurmJob) -> None:
    status, stderr = job.run(script)
    assert (status, "no command" in stderr) == (1, True)
    job.variables["RAYKD_TEACHER_NODES"] = "2"
    status, stderr = job.run(script, *DISTILL)
    assert (status, "at least one for each role" in stderr) == (1, True)
    job.variables["SLURM_JOB_NODELIST"] = ""
    status, stderr = job.run(script, *DISTILL)
    assert (status, "not inside a Slurm job" in stderr) == (1, True)
    assert not (job.state / "tokens").exists()


def test_ray_knows_the_options(finished: SlurmJob) -> None:
    commands = finished.commands("ray ")
    assert len(commands) >= 3
    for command in commands:
        name, *words = re.sub(r"\{.*?\}", "{}", command).split()[1:]
        if name == "symmetric-run":
            # It hands its own options to `ray start --head`.
            words = ["--head", *curate_and_validate_ray_start_args(words[: words.index("--")])]
        ray_cli.start.make_context("start", words)


@BOTH
def test_bash_accepts_the_script(script: str) -> None:
    subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=True)

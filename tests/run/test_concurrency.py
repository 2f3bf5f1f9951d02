"""How many runs train at once: what cores and Ray hold, whatever a run starts beside its student."""

from __future__ import annotations

import os

import pytest
import ray
from tiny import TINY_TEACHER, Configure

from raykd.domains.task import beside_of, task_resources, threads_of
from raykd.run.concurrency import needed_by_run, runs_at_once
from raykd.runtime import _logical_cpus

pytestmark = pytest.mark.usefixtures("ray_local")

IKD = "feedback={type: ikd, teacher_lr: 1.0e-5}"


def test_the_cores_and_the_runs_bound_it(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert runs_at_once(configure("train.threads=2"), 8, remote=False) == 3
    assert runs_at_once(configure("train.threads=2"), 2, remote=False) == 2
    assert runs_at_once(configure("train.threads=16"), 8, remote=False) == 1
    assert runs_at_once(configure("train.threads=16"), 8, remote=False, configured=5) == 5
    assert threads_of(configure(), 3, remote=False) == 2


def test_a_cluster_and_what_runs_start_bound_it(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 4.0, "slot": 9.0})
    gpu = configure("train.worker_gpus=1", "train.worker_cpus=2")
    assert runs_at_once(gpu, 99, remote=True) == 4
    assert runs_at_once(configure("train.worker_cpus=2", "train.worker_resources={slot: 3}"), 99, remote=True) == 3
    teachers = [{**TINY_TEACHER, "num_cpus": 3, "replicas": 2}]
    learning = configure(IKD, teachers=teachers)
    assert beside_of(learning) == {"CPU": 3.0, "GPU": 0.0}
    assert runs_at_once(learning, 99, remote=True, beside=beside_of(learning)) == 16 // (1 + 3)
    # One worker trains in the run's own process, for which a local Ray reserves nothing: teachers alone count there.
    assert runs_at_once(learning, 99, remote=False, beside=beside_of(learning)) == 16 // 3
    features = configure("objective={type: kl, features: {pkd: 1}}", teachers=teachers)
    assert beside_of(features) == {"CPU": 6.0, "GPU": 0.0}
    assert runs_at_once(configure(), 99, remote=False, beside=beside_of(configure())) == 64
    two = configure("train.workers=2")
    assert needed_by_run(two, {"CPU": 1.0}, workers=True) == {"GPU": 0, "CPU": 3.0}
    assert runs_at_once(two, 99, remote=False, beside={}) == 8


def test_a_task_reserves_what_its_student_trains_on(configure: Configure) -> None:
    gpu = configure("train.worker_gpus=0.5", "train.worker_resources={slot: 1}")
    assert task_resources(gpu, remote=True, gpus=True) == {"num_cpus": 1, "num_gpus": 0.5, "resources": {"slot": 1}}
    assert task_resources(gpu, remote=False, gpus=True) == {"num_cpus": 0, "num_gpus": 0.5}
    assert task_resources(gpu, remote=False, gpus=False) == {"num_cpus": 0, "num_gpus": 0}
    assert task_resources(configure("train.workers=2"), remote=True, gpus=True) == {"num_cpus": 0}


def test_a_local_ray_has_places_for_all_that_train_at_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    config = configure(IKD, "train.threads=2")
    assert _logical_cpus(config, runs=99) >= 4 * (1 + 1)
    assert _logical_cpus(config) == _logical_cpus(config, runs=1) == 8

"""Metrics of a real service, read where Prometheus reads them: over HTTP from the node's agent."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from stand_ins import DeafReplica, HangingReplica, ids_of, own_teacher, spec_of

from raykd.data.corpus import Corpus
from raykd.teachers.serving import metrics
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.recording import WaitShare
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.teacher_model import TeacherModel

pytestmark = [pytest.mark.usefixtures("ray_local"), pytest.mark.slow]
REPORT_S = 60.0
"""Processes report to their node's agent every 10 s; the rest is patience with a busy machine."""


def scraped(teacher: str | None) -> dict[tuple[str, ...], float]:
    """(name, *values of its own tags) → value, of a teacher's metrics or of those without one; over all processes."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    values: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_raykd_") and sample.labels.get("teacher") == teacher:
                own = [sample.labels[tag] for tag in ("state", "kind", "le") if tag in sample.labels]
                key = (sample.name, *own)
                values[key] = values.get(key, 0.0) + sample.value
    return values


def wait_for(expected: Callable[[dict[tuple[str, ...], float]], bool], teacher: str | None) -> dict[Any, float]:
    deadline = time.monotonic() + REPORT_S
    while not expected(values := scraped(teacher)):
        assert time.monotonic() < deadline, values
        time.sleep(0.5)
    return values


def test_rows_a_lost_replica_and_its_recovery_are_exported(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    teacher = own_teacher(teacher, tmp_path / "teacher", "measured")
    spec = spec_of(teacher, tmp_path / "cache", HangingReplica, replicas=2, tokens=256)
    spec = replace(spec, call_timeout_s=1.0)  # the replica hangs once
    served.append(connect(spec))
    ids = ids_of(corpus)
    TeacherClient(TargetSource(teacher, corpus.splits["train"], spec.cache, "run", ids, spec)).get(ids)
    sealed = (metrics.TABLES_SEALED.exported,)
    values = wait_for(lambda values: values.get(sealed) == 1, teacher.name)
    rows = ray.get(served[0].status.remote())["rows"]
    assert values[(metrics.ROWS_COMPUTED.exported,)] == rows["forwards"] == len(ids)
    assert values[(metrics.ROWS_ASKED.exported,)] == rows["asked"]
    assert values.get((metrics.ROWS_SERVED_AT_ONCE.exported,), 0) == rows["known"]
    assert values[(metrics.ROWS_RECOMPUTED.exported,)] == rows["lost"] > 0
    assert values[(metrics.FAILURES.exported, "infra")] == 1
    assert (metrics.FAILURES.exported, "data") not in values
    # One for each call of the lost replica, which had two at most.
    assert values[(f"{metrics.RECOVERY_SECONDS.exported}_count",)] in (1, 2)
    assert {key[1] for key in values if key[0] == metrics.REPLICAS.exported} == set(metrics.REPLICA_STATES)
    assert (metrics.SERVICE_RESTARTS.exported,) not in values
    idle = wait_for(lambda values: values[(metrics.REPLICAS.exported, "working")] == 0, teacher.name)
    for gauge in (metrics.CALLS_IN_FLIGHT, metrics.OLDEST_IN_FLIGHT, metrics.QUEUE_ROWS):
        assert idle[(gauge.exported,)] == 0


def test_a_long_call_and_a_restarted_service_are_exported(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    """While a replica hangs the gauges show it; the process that takes over counts its start."""
    teacher = own_teacher(teacher, tmp_path / "teacher", "deaf")
    spec = spec_of(teacher, tmp_path / "cache", DeafReplica, tokens=256)
    served.append(connect(spec))
    ids = ids_of(corpus)
    TeacherClient(TargetSource(teacher, corpus.splits["train"], spec.cache, "run", ids, spec)).prefetch([ids[:8]])
    values = wait_for(lambda values: values.get((metrics.OLDEST_IN_FLIGHT.exported,), 0) > 2, teacher.name)
    assert values[(metrics.REPLICAS.exported, "working")] == 1
    assert values[(metrics.CALLS_IN_FLIGHT.exported,)] == 2  # one that it works on, one that waits
    assert values[(metrics.QUEUE_ROWS.exported,)] == len(ids)
    assert (metrics.ROWS_COMPUTED.exported,) not in values
    os.kill(int(ray.get(served[0].progress.remote("run"))["pid"]), signal.SIGKILL)
    wait_for(lambda values: values.get((metrics.SERVICE_RESTARTS.exported,)) == 1, teacher.name)


def test_a_students_share_of_waiting_is_exported() -> None:
    times = iter((0.0, 10.0, 14.0))
    share = WaitShare(lambda: next(times))
    share.begin(5.0)
    share.end(6.0)  # of the 4 s of this step it has waited 1 s
    wait_for(lambda values: values.get((metrics.STUDENT_WAIT_SHARE.exported,)) == 0.25, None)

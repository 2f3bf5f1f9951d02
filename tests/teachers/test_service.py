"""The service with real actors: every row right and once, whatever dies, however slow."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from stand_ins import (
    SEAT,
    DeafReplica,
    DyingLateReplica,
    DyingReplica,
    HangingReplica,
    LateReplica,
    SlowReplica,
    WrongVersionReplica,
    ids_of,
    own_teacher,
    spec_of,
)

from raykd.data.corpus import Corpus
from raykd.errors import TeacherError
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource, TeacherClient, register
from raykd.teachers.serving.replica import ModelReplica, Replica
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.teacher_model import TeacherModel

pytestmark = pytest.mark.usefixtures("ray_local")


def local(teacher: TeacherModel, corpus: Corpus, ids: np.ndarray) -> np.ndarray:
    """The undisturbed answer: each row alone, no padding, no service."""
    model = LocalTeacher(teacher, torch.device("cpu"))
    return np.concatenate([model.logits(corpus.splits["train"], ids[k : k + 1]) for k in range(len(ids))])


def source_of(spec: TeacherServiceSpec, corpus: Corpus, run: str = "run") -> TargetSource:
    return TargetSource(spec.teacher, corpus.splits["train"], spec.cache, run, ids_of(corpus), spec)


def state(handle: Any, run: str = "run") -> dict[str, Any]:
    return ray.get(handle.progress.remote(run))


def computed(handle: Any, corpus: Corpus, run: str = "run") -> int:
    return state(handle, run)["corpora"][corpus.splits["train"].texts]["computed"]


def wait_sealed(handle: Any, corpus: Corpus, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not state(handle)["corpora"][corpus.splits["train"].texts]["sealed"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_every_row_is_right_and_computed_once(
    replicas: int, teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(teacher, tmp_path, ModelReplica, replicas)
    served.append(connect(spec))
    source = source_of(spec, corpus)
    client, ids = TeacherClient(source), source.wanted
    batches = [ids[k : k + 32] for k in range(0, len(ids), 32)]
    got = []
    for k, batch in enumerate(batches):
        client.prefetch(batches[k : k + 4])
        got.append(client.get(batch))
    np.testing.assert_allclose(np.concatenate(got), local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    wait_sealed(served[0], corpus)
    assert computed(served[0], corpus) == len(ids)
    assert state(served[0])["forwards"] == len(ids)
    sealed = TeacherClient(TargetSource(teacher, source.split, source.cache, "later", ids, None))
    np.testing.assert_array_equal(sealed.get(ids), np.concatenate(got))


def test_two_students_share_one_pass(teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]) -> None:
    spec = spec_of(teacher, tmp_path, ModelReplica)
    served.append(connect(spec))
    one, two = (TeacherClient(source_of(spec, corpus, run)) for run in ("run", "other"))
    ids = one.source.wanted
    for start in range(0, len(ids), 50):
        part = ids[start : start + 50]
        np.testing.assert_array_equal(one.get(part), two.get(part))
    wait_sealed(served[0], corpus)
    assert computed(served[0], corpus) + computed(served[0], corpus, "other") == len(ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failing", "timeout_s"),
    [(DyingReplica, None), (HangingReplica, 1.0)],
    ids=["dies", "hangs"],
)
def test_a_replica_that_fails_loses_no_row(
    failing: type[Replica],
    timeout_s: float | None,
    teacher: TeacherModel,
    corpus: Corpus,
    tmp_path: Path,
    served: list[Any],
) -> None:
    teacher = own_teacher(teacher, tmp_path / "teacher")
    spec = replace(spec_of(teacher, tmp_path, failing, replicas=2, tokens=256), call_timeout_s=timeout_s)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    got = client.get(ids)
    np.testing.assert_allclose(got, local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    assert (Path(teacher.folder) / "failed").exists()
    wait_sealed(served[0], corpus)
    assert computed(served[0], corpus) == len(ids)


@pytest.mark.slow
def test_two_batches_in_one_lost_call_are_both_asked_for_again(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raykd.teachers.serving.client.PATIENCE_S", 40.0)
    teacher = own_teacher(teacher, tmp_path / "teacher")
    spec = spec_of(teacher, tmp_path, DyingLateReplica, tokens=8192)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    deadline = time.monotonic() + 60
    while not ray.get(served[0].status.remote())["in_flight"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.prefetch([ids[:8], ids[8:16]])
    for batch in (ids[:8], ids[8:16]):
        np.testing.assert_allclose(client.get(batch), local(teacher, corpus, batch), rtol=1e-9, atol=1e-12)
    assert (Path(teacher.folder) / "failed").exists()


def test_a_replica_without_a_place_keeps_no_rows(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    """As after a node was lost: the second of two replicas never starts, and the first answers all."""
    most_of_a_node = replace(SEAT, resources={"node:__internal_head__": 0.6})
    spec = replace(spec_of(teacher, tmp_path, ModelReplica, replicas=2), actor_resources=most_of_a_node)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    np.testing.assert_allclose(client.get(ids), local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    assert computed(served[0], corpus) == len(ids)
    states = [replica["state"] for replica in ray.get(served[0].status.remote())["replicas"]]
    assert states in (["idle", "starting"], ["starting", "idle"], [])  # none once all is sealed


@pytest.mark.slow
def test_replicas_that_all_hang_end_the_run_with_the_reason(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = replace(spec_of(teacher, tmp_path, DeafReplica), call_timeout_s=0.5)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    with pytest.raises(TeacherError, match=r"died 3 times: no answer in 0\.5 s \(call_timeout_s\)"):
        client.get(client.source.wanted)


@pytest.mark.slow
def test_a_replica_that_loads_for_long_does_not_hang(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = replace(spec_of(teacher, tmp_path, LateReplica), call_timeout_s=1.5)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    np.testing.assert_allclose(client.get(ids), local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    assert (Path(teacher.folder) / "started").read_text() == "x"


@pytest.mark.slow
def test_a_killed_service_goes_on_from_its_segments(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(teacher, tmp_path, SlowReplica, tokens=128)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    client.prefetch([ids[:32]])
    first = client.get(ids[:32])
    time.sleep(2.5)  # a segment is written
    os.kill(int(state(served[0])["pid"]), signal.SIGKILL)
    rest = client.get(ids)
    np.testing.assert_array_equal(rest[:32], first)
    np.testing.assert_allclose(rest, local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    register(client.source)
    wait_sealed(served[0], corpus)
    assert computed(served[0], corpus) < len(ids)


@pytest.mark.slow
def test_requests_stay_bounded_when_the_teacher_is_slow(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(teacher, tmp_path, SlowReplica, replicas=2, tokens=128)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids = client.source.wanted
    most = 0
    for start in range(0, 160, 16):
        client.prefetch([ids[start + k * 16 : start + (k + 1) * 16] for k in range(4)])
        most = max(most, *state(served[0])["replicas"])
        under_way = len(client._replies) + len(client._calls)
        assert under_way <= 4 + 2 * 2 + 4
        client.get(ids[start : start + 16])
    assert most <= 2


@pytest.mark.slow
def test_replicas_come_and_go_while_students_train(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(teacher, tmp_path, SlowReplica, tokens=128)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    ids, sizes = client.source.wanted, {0: 3, 100: 1, 200: 2}
    got = []
    for start in range(0, len(ids), 20):
        if start in sizes:
            ray.get(served[0].scale.remote(sizes[start]))
        got.append(client.get(ids[start : start + 20]))
    np.testing.assert_allclose(np.concatenate(got), local(teacher, corpus, ids), rtol=1e-9, atol=1e-12)
    wait_sealed(served[0], corpus)
    assert computed(served[0], corpus) == len(ids)


@pytest.mark.slow
def test_an_answer_of_another_version_is_refused(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(teacher, tmp_path, WrongVersionReplica)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    with pytest.raises(TeacherError, match="version 7, asked was 0"):
        client.get(client.source.wanted[:8])


@pytest.mark.slow
def test_a_teacher_that_cannot_start_is_an_error_not_a_wait(
    teacher: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    spec = spec_of(replace(teacher, folder=str(tmp_path / "gone")), tmp_path, ModelReplica)
    served.append(connect(spec))
    client = TeacherClient(source_of(spec, corpus))
    with pytest.raises(TeacherError, match="could not start") as caught:
        client.get(client.source.wanted[:8])
    assert "\n" not in str(caught.value)

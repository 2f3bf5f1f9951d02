"""A teacher at an endpoint through its service: replicas as Ray actors, the store, an error's way to the student."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray
from endpoint_server import EndpointServer
from stand_ins import ids_of

from raykd.config import EndpointTeacherConfig, TeacherConfig
from raykd.data.corpus import Corpus
from raykd.errors import TeacherError
from raykd.teachers.endpoints import prepare_endpoint
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.endpoint_replica import EndpointReplica
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.replica import ActorResources, Replica
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec

LABELS = ("negative", "positive")
KIND: type[Replica] = EndpointReplica  # mypy holds it against the protocol


def logits_of(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    return np.array([[len(text) / 10, float(text.count("e"))] for text in texts])


@pytest.fixture
def servers() -> Iterator[list[EndpointServer]]:
    servers = [EndpointServer(logits_of, LABELS) for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


def spec_of(servers: list[EndpointServer], corpus: Corpus, cache: Path, **keys: Any) -> TeacherServiceSpec:
    config = TeacherConfig.of({"endpoint": [f"{server.url}/raykd" for server in servers], **keys})
    assert isinstance(config, EndpointTeacherConfig)
    teacher, warnings = prepare_endpoint("far", config, corpus, LABELS)
    assert not warnings
    return service_spec(teacher, config, cache, threads=1, lease_s=None)


def test_a_replica_answers_for_its_teacher(servers: list[EndpointServer], corpus: Corpus, tmp_path: Path) -> None:
    spec = spec_of(servers, corpus, tmp_path)
    assert spec.replica is EndpointReplica
    assert (spec.actor_resources.num_cpus, spec.actor_resources.num_gpus) == (0.1, 0)
    replica = EndpointReplica(spec.teacher, ActorResources(0.1, 0, 1, {}, {}))
    split, ids = corpus.splits["train"], ids_of(corpus)[:5]
    answer = replica.infer(split, ids)
    answer.check(spec.teacher, 0, split.texts)
    assert isinstance(answer.values, np.ndarray)
    assert answer.values.dtype == np.float32
    np.testing.assert_allclose(answer.values, logits_of(corpus.rows("train").texts(ids), None), rtol=1e-6)
    assert replica.health() == {"pid": os.getpid(), "rows": 5}


@pytest.mark.usefixtures("ray_local")
def test_rows_are_spread_over_replicas_and_servers_and_stored(
    servers: list[EndpointServer], corpus: Corpus, tmp_path: Path
) -> None:
    spec = spec_of(servers, corpus, tmp_path / "cache", replicas=2, batch_rows=7)
    service = connect(spec)
    split, ids = corpus.splits["train"], ids_of(corpus)
    client = TeacherClient(TargetSource(spec.teacher, split, spec.cache, "run", ids, spec))
    logits = client.get(ids)
    np.testing.assert_allclose(logits, logits_of(corpus.rows("train").texts(ids), None), rtol=1e-6)
    for server in servers:
        rows = [len(body["texts"]) for _, _, body in server.requests]
        assert max(rows) == 7
        assert sum(rows) > len(ids) / 4
    deadline = time.monotonic() + 60
    while not cast(Any, ray.get(service.progress.remote("run")))["corpora"][split.texts]["sealed"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Of another address, and of a server that is no longer asked: the same store.
    moved = spec_of(servers[1:], corpus, tmp_path / "cache").teacher
    stored = TeacherClient(TargetSource(moved, split, spec.cache, "later", ids, None))
    np.testing.assert_array_equal(stored.get(ids), logits)
    ray.kill(service)


@pytest.mark.usefixtures("ray_local")
def test_the_student_gets_address_and_cause(servers: list[EndpointServer], corpus: Corpus, tmp_path: Path) -> None:
    spec = spec_of(servers[:1], corpus, tmp_path / "cache", batch_rows=7)
    service = connect(spec)
    ids = ids_of(corpus)
    client = TeacherClient(TargetSource(spec.teacher, corpus.splits["train"], spec.cache, "run", ids, spec))
    client.get(ids[:7])
    servers[0].change = lambda answer: answer | {"model": "another"}
    with pytest.raises(TeacherError, match=f"teacher far: {servers[0].url}/raykd: it serves the model 'another'"):
        client.get(ids)
    ray.kill(service)

"""The contract of a replica: the real one, the benches' sleeper, and one that asks a server over HTTP."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray
from http_replica import HttpReplica
from stand_ins import ids_of, spec_of

from raykd.data.corpus import Corpus
from raykd.errors import TeacherError
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.replica import ActorResources, ModelReplica, Replica
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.teacher_model import TeacherModel
from raykd.workloads.bench._sleeper import Sleeper

RESOURCES = ActorResources(num_cpus=1, num_gpus=0, threads=1, resources={}, node_labels={})
REPLICAS: list[type[Replica]] = [ModelReplica, Sleeper, HttpReplica]  # mypy holds each against the protocol


def logits_of(texts: list[str]) -> list[list[float]]:
    return [[len(text) / 10, float(text.count("e"))] for text in texts]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(logits_of(texts)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def http_teacher(teacher: TeacherModel, tmp_path: Path) -> Iterator[TeacherModel]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tmp_path / "http"
    folder.mkdir()
    (folder / "url").write_text(f"http://127.0.0.1:{server.server_port}/", encoding="utf-8")
    yield replace(teacher, name="http", folder=str(folder), weights=str(folder))
    server.shutdown()


@pytest.mark.parametrize("kind", REPLICAS, ids=lambda kind: kind.__name__)
def test_they_have_what_the_protocol_asks_for(kind: type) -> None:
    assert issubclass(kind, Replica)
    assert not issubclass(TeacherClient, Replica)


def test_a_replica_answers_for_its_teacher(teacher: TeacherModel, corpus: Corpus) -> None:
    replica = ModelReplica(teacher, RESOURCES)
    assert isinstance(replica, Replica)
    split, ids = corpus.splits["train"], ids_of(corpus)[:5]
    answer = replica.infer(split, ids)
    answer.check(teacher, 0, split.texts)
    assert isinstance(answer.values, np.ndarray)
    assert answer.values.shape == (5, teacher.classes)
    assert replica.health() == {"pid": os.getpid(), "rows": 5}
    for other in ((replace(teacher, weights="others"), 0, split.texts), (teacher, 1, split.texts)):
        with pytest.raises(TeacherError, match="it was not used"):
            answer.check(*other)
    with pytest.raises(TeacherError, match="answered with corpus"):
        answer.check(teacher, 0, "another")


@pytest.mark.usefixtures("ray_local")
def test_a_teacher_over_http_goes_through_the_service(
    http_teacher: TeacherModel, corpus: Corpus, tmp_path: Path
) -> None:
    spec = spec_of(http_teacher, tmp_path / "cache", HttpReplica, replicas=2)
    service = connect(spec)
    split, ids = corpus.splits["train"], ids_of(corpus)
    client = TeacherClient(TargetSource(http_teacher, split, spec.cache, "run", ids, spec))
    logits = client.get(ids)
    np.testing.assert_array_equal(logits, logits_of(corpus.rows("train").texts(ids)))
    deadline = time.monotonic() + 60
    while not cast(Any, ray.get(service.progress.remote("run")))["corpora"][split.texts]["sealed"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stored = TeacherClient(TargetSource(http_teacher, split, spec.cache, "later", ids, None))
    np.testing.assert_array_equal(stored.get(ids), logits)
    ray.kill(service)

"""A tiny teacher and the embedded corpus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from endpoint_server import EndpointServer
from endpoint_teachers import LABELS, fixed_logits
from stand_ins import TASK, prepared
from tiny import generated_corpus

from raykd import models
from raykd.config import ModelConfig
from raykd.data.corpus import Corpus
from raykd.teachers.serving import endpoint_client
from raykd.teachers.teacher_model import TeacherModel

SHAPE = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=400, dropout=0.0)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generated_corpus(tmp_path_factory.mktemp("corpora"), rows=300, validation_rows=60)[0]


@pytest.fixture(scope="session")
def teacher(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TeacherModel:
    """Random weights serve as well as learnt ones here; float64, so that equal means equal."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = corpus.rows("train").texts(corpus.ids["train"])
    model, tokenizer = models.build(SHAPE, TASK, texts, 0, 32)
    models.save(model, tokenizer, folder)
    return prepared(folder)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointServer]:
    """Two classes, the second column first in the task's order; little is waited after a failure."""
    monkeypatch.setattr(endpoint_client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("raykd.teachers.endpoints.PAUSES_S", (0.01,))
    server = EndpointServer(lambda texts, pairs: fixed_logits(texts, pairs)[:, :2], LABELS[::-1])
    yield server
    server.close()


@pytest.fixture
def served() -> Iterator[list[Any]]:
    """Services that a test starts and this ends."""
    handles: list[Any] = []
    yield handles
    for handle in handles:
        ray.kill(handle)
    time.sleep(0.2)  # the name is free again

"""A teacher at an endpoint, asked from this process: forms, failures that pass, other servers, tokens."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from endpoint_server import EndpointServer, logits_of, softmax
from endpoint_teachers import FORMS, LABELS, TEXTS, client_of, prepared, wanted_logits

from raykd.data.corpus import Corpus
from raykd.errors import ConfigError, TeacherError
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.endpoint import FLOOR
from raykd.teachers.serving.http_json import Refused, ask
from raykd.teachers.teacher_model import TeacherModel


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_logits_in_the_order_of_the_task(
    server: EndpointServer, corpus: Corpus, form: str, outputs: str
) -> None:
    server.kind = outputs
    teacher = prepared(corpus, server.url, form=form, outputs=outputs)
    logits = client_of(teacher).logits(TEXTS, None)
    wanted = wanted_logits()
    if outputs == "probabilities":
        wanted = np.log(softmax(wanted))
    np.testing.assert_allclose(logits, wanted, rtol=1e-12)
    np.testing.assert_allclose(softmax(logits / 3), softmax(wanted_logits() / 3), rtol=1e-12)


def test_a_checkpoint_behind_each_form_answers_as_it_does_here(teacher: TeacherModel, corpus: Corpus) -> None:
    here = replace(teacher, dtype="float32")
    split, ids = corpus.splits["train"], corpus.ids["train"][:20]
    wanted = LocalTeacher(here, torch.device("cpu")).logits(split, ids)
    server = EndpointServer(logits_of(Path(teacher.folder), teacher.max_length), LABELS)
    texts = corpus.rows("train").texts(ids)
    for form in FORMS:
        labels = list(LABELS) if form == "vllm" else None
        served = prepared(corpus, server.url, form=form, outputs="logits", labels=labels)
        np.testing.assert_allclose(client_of(served).logits(texts, None), wanted, atol=1e-5)
    server.close()


@pytest.mark.parametrize("form", ["raykd", "tei"])
def test_pairs_are_sent_where_the_form_has_them(server: EndpointServer, corpus: Corpus, form: str) -> None:
    client = client_of(prepared(corpus, server.url, form=form))
    np.testing.assert_allclose(client.logits(TEXTS, TEXTS[::-1]), wanted_logits(TEXTS[::-1]))


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities"])
def test_probabilities_are_floored_and_never_infinite(server: EndpointServer, corpus: Corpus, kind: str) -> None:
    server.logits = lambda texts, pairs: np.array([[0.0, -500.0]] * len(texts))
    server.kind = kind
    logits = client_of(prepared(corpus, server.url, outputs="probabilities")).logits(TEXTS, None)
    np.testing.assert_allclose(logits, [[np.log(FLOOR), 0.0]] * len(TEXTS), atol=1e-12)


@pytest.mark.parametrize(
    "fault", ["chunked", "chunked cut", "cut", 500, 503, (429, {"Retry-After": "0"}), (429, {}), "hang", "drip"]
)
def test_what_may_pass_is_asked_again(server: EndpointServer, corpus: Corpus, fault: Any) -> None:
    client = client_of(prepared(corpus, server.url, request_timeout_s=0.5))
    server.faults = [fault]
    np.testing.assert_allclose(client.logits(TEXTS, None), wanted_logits())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", r"its answer was cut after \d+ of \d+ bytes"),
        ("chunked cut", "its answer was cut"),
        (500, "status 500: broken"),
        ((429, {}), "status 429"),
        ("hang", "no answer in 0.3 s"),
        ("drip", "no answer in 0.3 s"),
    ],
)
def test_what_does_not_pass_ends_with_address_and_cause(
    server: EndpointServer, corpus: Corpus, fault: Any, says: str
) -> None:
    client = client_of(prepared(corpus, server.url, request_timeout_s=0.3))
    server.faults = [fault] * 9
    with pytest.raises(TeacherError, match=rf"teacher t: no answer in 3 attempts: {server.url}/raykd: {says}"):
        client.logits(TEXTS, None)


def test_a_server_that_asks_to_wait_is_left_alone_for_as_long(server: EndpointServer, corpus: Corpus) -> None:
    client = client_of(prepared(corpus, server.url))
    server.faults = [(429, {"Retry-After": "1"})]
    begun = time.monotonic()
    client.logits(TEXTS, None)
    assert time.monotonic() - begun > 1


def test_rows_go_on_elsewhere_when_a_server_dies(server: EndpointServer, corpus: Corpus) -> None:
    other = EndpointServer(server.logits, server.labels)
    client = client_of(prepared(corpus, server.url, other.url))
    for _ in range(4):
        client.logits(TEXTS, None)
    asked = len(other.requests)
    assert asked > 2
    other.close()
    for _ in range(4):
        np.testing.assert_allclose(client.logits(TEXTS, None), wanted_logits())
    assert len(other.requests) == asked


def test_a_server_that_comes_back_with_another_model_is_refused(server: EndpointServer, corpus: Corpus) -> None:
    """Text Embeddings Inference does not name the model in its answers, so /info is asked after a failure."""
    client = client_of(prepared(corpus, server.url, form="tei"))
    client.logits(TEXTS, None)
    server.faults, server.model = [503], "another"
    with pytest.raises(TeacherError, match="it serves the model 'another', asked was 'tiny'"):
        client.logits(TEXTS, None)


def test_the_token_is_sent_and_stands_in_no_message(
    server: EndpointServer, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "hush-hush")
    teacher = prepared(corpus, server.url, token_variable="A_TOKEN")
    assert "hush" not in repr(teacher)
    client = client_of(teacher, "hush-hush")
    client.logits(TEXTS, None)
    assert {headers["Authorization"] for _, headers, _ in server.requests} == {"Bearer hush-hush"}
    server.faults = ["echo"]
    with pytest.raises(TeacherError, match="status 401: no such token: Bearer …") as refused:
        client.logits(TEXTS, None)
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("A_TOKEN", "hush\nX-Other: 1")
    with pytest.raises(ConfigError, match="holds no bearer token") as unusable:
        prepared(corpus, server.url, token_variable="A_TOKEN")
    assert "hush" not in str(unusable.value)


def test_a_long_answer_is_not_read(server: EndpointServer) -> None:
    body = {"texts": TEXTS, "pairs": None}
    with pytest.raises(Refused, match="longer than 50 bytes"):
        ask(f"{server.url}/raykd", body, None, 2.0, 50)

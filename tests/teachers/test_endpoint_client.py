"""A teacher at an endpoint, asked from this process: forms, faults, other servers, tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from endpoint_server import EndpointServer, dead_url, logits_of, softmax

from raykd.config import EndpointTeacherConfig, TeacherConfig
from raykd.data.corpus import Corpus
from raykd.errors import ConfigError, ModelError, TeacherError
from raykd.teachers.endpoints import prepare_endpoint
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving import endpoint_client
from raykd.teachers.serving.endpoint import FLOOR
from raykd.teachers.serving.endpoint_client import EndpointClient
from raykd.teachers.serving.http_json import Refused, ask
from raykd.teachers.teacher_model import TeacherModel

LABELS = ("negative", "positive")
TEXTS = ["a good one", "bad", "neither good nor bad", "what else", "once more"]
FORMS = {"raykd": "/raykd", "vllm": "", "tei": ""}


def fixed_logits(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    """Three classes, by the lengths of the texts."""
    lengths = [len(text) + (0 if pairs is None else 10 * len(pairs[i])) for i, text in enumerate(texts)]
    return np.array([[0.1 * n, -1.0 + 0.03 * n, 2.0 - 0.2 * n] for n in lengths])


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    """Two classes, the second column first in the task's order."""
    server = EndpointServer(lambda texts, pairs: fixed_logits(texts, pairs)[:, :2], LABELS[::-1])
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("raykd.teachers.endpoints.PAUSES_S", (0.01,))


def settings(*urls: str, form: str = "raykd", **keys: Any) -> EndpointTeacherConfig:
    filled = {"endpoint": [url + FORMS[form] for url in urls], "form": form, "retries": 2, "request_timeout_s": 2.0}
    if form == "vllm":
        filled["labels"] = list(LABELS[::-1])
    config = TeacherConfig.of(filled | keys)
    assert isinstance(config, EndpointTeacherConfig)
    return config


def prepared(corpus: Corpus, *urls: str, form: str = "raykd", **keys: Any) -> TeacherModel:
    teacher, _ = prepare_endpoint("t", settings(*urls, form=form, **keys), corpus, LABELS)
    return teacher


def client_of(teacher: TeacherModel, token: str | None = None) -> EndpointClient:
    assert teacher.endpoint is not None
    return EndpointClient("t", teacher.endpoint, teacher.columns, teacher.labels, token)


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_logits_in_the_order_of_the_task(
    server: EndpointServer, corpus: Corpus, form: str, outputs: str
) -> None:
    server.kind = outputs
    teacher = prepared(corpus, server.url, form=form, outputs=outputs)
    logits = client_of(teacher).logits(TEXTS, None)
    wanted = fixed_logits(TEXTS, None)[:, [1, 0]]
    if outputs == "probabilities":
        wanted = np.log(softmax(wanted))
    np.testing.assert_allclose(logits, wanted, rtol=1e-12)
    np.testing.assert_allclose(softmax(logits / 3), softmax(fixed_logits(TEXTS, None)[:, [1, 0]] / 3), rtol=1e-12)


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
    np.testing.assert_allclose(client.logits(TEXTS, TEXTS[::-1]), fixed_logits(TEXTS, TEXTS[::-1])[:, [1, 0]])


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities"])
def test_probabilities_are_floored_and_never_infinite(server: EndpointServer, corpus: Corpus, kind: str) -> None:
    server.logits = lambda texts, pairs: np.array([[0.0, -500.0]] * len(texts))
    server.kind = kind
    logits = client_of(prepared(corpus, server.url, outputs="probabilities")).logits(TEXTS, None)
    np.testing.assert_allclose(logits, [[np.log(FLOOR), 0.0]] * len(TEXTS), atol=1e-12)


@pytest.mark.parametrize("fault", ["cut", 500, 503, (429, {"Retry-After": "0"}), (429, {}), "hang", "drip"])
def test_what_may_pass_is_asked_again(server: EndpointServer, corpus: Corpus, fault: Any) -> None:
    client = client_of(prepared(corpus, server.url, request_timeout_s=0.5))
    server.faults = [fault]
    np.testing.assert_allclose(client.logits(TEXTS, None), fixed_logits(TEXTS, None)[:, [1, 0]])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", r"its answer was cut after \d+ of \d+ bytes"),
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


def changed(key: str, value: Any) -> Any:
    return lambda answer: answer | {key: value}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed("logits", [[1.0, 2.0]]), "it answered 1 rows, asked were 5"),
        (changed("logits", [[1.0, 2.0]] * 4 + [[1.0]]), "its rows have different numbers of classes .1, 2."),
        (changed("logits", [[1.0, float("nan")]] * 5), "its numbers for row 0 are not finite"),
        (changed("logits", [[1.0, 2.0]] * 4 + [[1.0, float("inf")]]), "its numbers for row 4 are not finite"),
        (changed("logits", [[1.0, 1e300]] * 5), "its numbers for row 0 are not finite"),
        (changed("logits", [[1.0, "2"]] * 5), "its rows hold something else than numbers"),
        (changed("logits", [[0.25, 0.75]] * 5), "its numbers are probabilities, and outputs is logits"),
        (changed("logits", None), "its answer has no logits"),
        (changed("model", "another"), "it serves the model 'another', asked was 'tiny'"),
        (changed("model", None), "its model is missing"),
        (changed("revision", "2"), "it tells the revision '2', asked was the revision '1'"),
        (changed("revision", None), "it tells no revision, asked was the revision '1'"),
        (changed("labels", ["positive", "other"]), "its answer has the labels positive, other"),
        (changed("labels", None), "its answer has the labels none"),
        (lambda answer: [answer], "its answer is no JSON object"),
        (lambda answer: {"text": "x" * 2_000_000}, r"its answer is longer than 1,\d+,\d+ bytes"),
    ],
)
def test_an_answer_that_must_not_be_used_ends_the_run(
    server: EndpointServer, corpus: Corpus, change: Any, says: str
) -> None:
    client = client_of(prepared(corpus, server.url))
    client.logits(TEXTS, None)
    server.change = change
    asked = len(server.requests)
    with pytest.raises(TeacherError, match=f"teacher t: {server.url}/raykd: {says}"):
        client.logits(TEXTS, None)
    assert len(server.requests) == asked + 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (400, "status 400: broken"),
        (404, "status 404"),
        (422, "status 422"),
        ("redirect", "it redirects to elsewhere.example .*not followed"),
    ],
)
def test_a_refusal_is_not_asked_again(server: EndpointServer, corpus: Corpus, fault: Any, says: str) -> None:
    client = client_of(prepared(corpus, server.url))
    server.faults = [fault]
    with pytest.raises(TeacherError, match=says):
        client.logits(TEXTS, None)


@pytest.mark.parametrize(
    ("values", "says"),
    [([[0.5, 0.1]] * 5, "are no probabilities"), ([[1.2, -0.2]] * 5, "are no probabilities")],
)
def test_numbers_that_are_no_probabilities_are_refused(
    server: EndpointServer, corpus: Corpus, values: Any, says: str
) -> None:
    server.kind = "probabilities"
    client = client_of(prepared(corpus, server.url, outputs="probabilities"))
    client.logits(TEXTS, None)
    server.change = changed("probabilities", values)
    with pytest.raises(TeacherError, match=says):
        client.logits(TEXTS, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1:], "it answered 4 rows, asked were 5"),
        (lambda rows: [row | {"index": 0} for row in rows], "the index of its rows is not 0 to 4"),
        (lambda rows: [row | {"probs": [1.0]} for row in rows], "it answered 1 classes, the teacher has 2|num_classes"),
        (lambda rows: [row | {"num_classes": 3} for row in rows], "its num_classes are not the 2 numbers"),
        (
            lambda rows: [row | {"label": LABELS[LABELS[0] == row["label"]]} for row in rows],
            "its largest score is of '(nega|posi)tive' and was taken for",
        ),
    ],
)
def test_rows_of_vllm_that_do_not_fit_are_refused(
    server: EndpointServer, corpus: Corpus, change: Any, says: str
) -> None:
    client = client_of(prepared(corpus, server.url, form="vllm"))
    client.logits(TEXTS, None)
    server.change = lambda answer: answer | {"data": change(answer["data"])}
    with pytest.raises(TeacherError, match=says):
        client.logits(TEXTS, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1:], "it answered 4 rows, asked were 5"),
        (lambda rows: [row[1:] for row in rows], "different labels|has the labels"),
        (lambda rows: [[entry | {"label": "other"} for entry in row] for row in rows], "names a label twice in a row"),
        (
            lambda rows: [[*row, {"label": "third", "score": 0.0}] for row in rows],
            "has the labels negative, positive, third",
        ),
    ],
)
def test_rows_of_tei_that_do_not_fit_are_refused(
    server: EndpointServer, corpus: Corpus, change: Any, says: str
) -> None:
    client = client_of(prepared(corpus, server.url, form="tei"))
    server.change = change
    with pytest.raises(TeacherError, match=says):
        client.logits(TEXTS, None)


def test_sglang_gives_probabilities_and_is_refused_as_logits(server: EndpointServer, corpus: Corpus) -> None:
    keys: dict[str, Any] = {"form": "vllm", "endpoint": f"{server.url}/v1"}
    wanted = np.log(softmax(fixed_logits(TEXTS, None)[:, [1, 0]]))
    np.testing.assert_allclose(client_of(prepared(corpus, **keys)).logits(TEXTS, None), wanted, rtol=1e-12)
    client = client_of(prepared(corpus, **keys, outputs="logits"))
    with pytest.raises(TeacherError, match="its numbers are probabilities"):
        client.logits(TEXTS, None)


def test_rows_go_on_elsewhere_when_a_server_dies(server: EndpointServer, corpus: Corpus) -> None:
    other = EndpointServer(server.logits, server.labels)
    client = client_of(prepared(corpus, server.url, other.url))
    for _ in range(4):
        client.logits(TEXTS, None)
    asked = len(other.requests)
    assert asked > 2
    other.close()
    for _ in range(4):
        np.testing.assert_allclose(client.logits(TEXTS, None), fixed_logits(TEXTS, None)[:, [1, 0]])
    assert len(other.requests) == asked


def test_a_server_that_comes_back_with_another_model_is_refused(server: EndpointServer, corpus: Corpus) -> None:
    """Text Embeddings Inference does not name the model in its answers, so /info is asked after a failure."""
    client = client_of(prepared(corpus, server.url, form="tei"))
    client.logits(TEXTS, None)
    server.faults, server.model = [503], "another"
    with pytest.raises(TeacherError, match="it serves the model 'another', asked was 'tiny'"):
        client.logits(TEXTS, None)


def test_the_identity_is_what_is_served_not_where(server: EndpointServer, corpus: Corpus) -> None:
    other = EndpointServer(server.logits, server.labels)
    teacher = prepared(corpus, server.url)
    assert prepared(corpus, server.url, other.url, retries=9, replicas=3, batch_rows=7).identity == teacher.identity
    assert prepared(corpus, server.url, labels=list(LABELS)).identity != teacher.identity  # other columns
    assert prepared(corpus, server.url, form="tei").identity != teacher.identity
    assert prepared(corpus, server.url, form="tei", outputs="probabilities").identity != teacher.identity
    server.revision = "2"
    assert prepared(corpus, server.url).identity != teacher.identity
    with pytest.raises(TeacherError, match="tells the revision '1', asked was the revision '2'"):
        prepared(corpus, server.url, other.url)
    other.close()


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        ({"model_id": "other"}, TeacherError, "it serves the model 'tiny', asked was 'other'"),
        ({"revision": "7"}, TeacherError, "it tells the revision '1', asked was the revision '7'"),
        ({"labels": ["a", "b"]}, ModelError, "its classes .a, b. are not the task's"),
        ({"labels": ["a"]}, ModelError, "1 names for 2 logit columns"),
        (
            {"form": "tei", "batch_rows": 64},
            ConfigError,
            "64 rows of a request, and the server takes 32 .set batch_rows=32",
        ),
        ({"token_variable": "NO_SUCH_VARIABLE"}, ConfigError, "variable NO_SUCH_VARIABLE is not set"),
        (
            {"endpoint": "http://127.0.0.1:1"},
            TeacherError,
            "no server of its endpoint answers: http://127.0.0.1:1: .*refused",
        ),
    ],
)
def test_a_server_that_does_not_fit_is_refused_at_the_start(
    server: EndpointServer, corpus: Corpus, keys: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        prepared(corpus, server.url, **keys)


def test_a_server_of_other_classes_is_refused(corpus: Corpus) -> None:
    three = EndpointServer(fixed_logits, ["a", "b", "c"])
    for form in FORMS:
        with pytest.raises(ModelError, match="has 3 classes, the task 2"):
            prepared(corpus, three.url, form=form)
    three.close()


def test_a_dead_address_beside_a_live_one_is_a_warning(server: EndpointServer, corpus: Corpus) -> None:
    dead = dead_url()
    _, warnings = prepare_endpoint("t", settings(dead, server.url), corpus, LABELS)
    (warning,) = warnings
    assert f"{dead}/raykd gives no answer" in warning
    np.testing.assert_allclose(
        client_of(prepared(corpus, dead, server.url)).logits(TEXTS, None), fixed_logits(TEXTS, None)[:, [1, 0]]
    )


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

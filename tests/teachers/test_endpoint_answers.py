"""Answers of a server that must not be used, and refusals: each ends the run with its cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from endpoint_server import EndpointServer, softmax
from endpoint_teachers import LABELS, TEXTS, client_of, prepared, wanted_logits

from raykd.data.corpus import Corpus
from raykd.errors import TeacherError


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
    wanted = np.log(softmax(wanted_logits()))
    np.testing.assert_allclose(client_of(prepared(corpus, **keys)).logits(TEXTS, None), wanted, rtol=1e-12)
    client = client_of(prepared(corpus, **keys, outputs="logits"))
    with pytest.raises(TeacherError, match="its numbers are probabilities"):
        client.logits(TEXTS, None)

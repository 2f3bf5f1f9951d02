"""What a server serves, asked before anything runs: the identity of a teacher, and what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from endpoint_server import EndpointServer, dead_url
from endpoint_teachers import FORMS, LABELS, TEXTS, client_of, fixed_logits, prepared, settings, wanted_logits

from raykd.data.corpus import Corpus
from raykd.errors import ConfigError, ModelError, TeacherError
from raykd.teachers.endpoints import prepare_endpoint


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
        ({"endpoint": "http://a..b:80"}, TeacherError, "http://a..b:80: its host cannot be a name"),
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
    np.testing.assert_allclose(client_of(prepared(corpus, dead, server.url)).logits(TEXTS, None), wanted_logits())

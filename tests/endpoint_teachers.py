"""Teachers at an endpoint of two classes, which the server has in another order than the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raykd.config import EndpointTeacherConfig, TeacherConfig
from raykd.data.corpus import Corpus
from raykd.teachers.endpoints import prepare_endpoint
from raykd.teachers.serving.endpoint_client import EndpointClient
from raykd.teachers.teacher_model import TeacherModel

LABELS = ("negative", "positive")
TEXTS = ["a good one", "bad", "neither good nor bad", "what else", "once more"]
FORMS = {"raykd": "/raykd", "vllm": "", "tei": ""}
"""What is added to a server's address."""


def fixed_logits(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    """Three classes, by the lengths of the texts."""
    lengths = [len(text) + (0 if pairs is None else 10 * len(pairs[i])) for i, text in enumerate(texts)]
    return np.array([[0.1 * n, -1.0 + 0.03 * n, 2.0 - 0.2 * n] for n in lengths])


def wanted_logits(pairs: Sequence[str] | None = None) -> np.ndarray:
    """Of `TEXTS`, in the order of the task."""
    return fixed_logits(TEXTS, pairs)[:, [1, 0]]


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

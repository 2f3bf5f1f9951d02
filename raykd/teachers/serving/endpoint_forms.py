"""The forms in which servers of text classification are asked: docs/endpoints.md has requests and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from raykd.config.endpoint import EndpointForm, Outputs
from raykd.teachers.serving.http_json import Refused

Ask = Callable[[str, Any], Any]
"""The JSON that an address answers to a POST of the second argument, or to a GET where that is None."""
Kind = Literal["logits", "probabilities", "log_probabilities"]
PROBE = ("good", "bad", "a good one", "a bad one")
"""Texts of the request that finds out what a server serves, where it has no other way to say it."""


@dataclass(frozen=True)
class Identity:
    """What a server serves.

    Attributes:
        labels: its names of the columns in its order; None where it tells none.
        most_rows: that it takes in one request; None where it tells none.
    """

    model: str
    revision: str | None
    labels: tuple[str, ...] | None
    classes: int
    most_rows: int | None = None


@dataclass(frozen=True)
class Scores:
    """An answer, rows in the order of the request.

    Attributes:
        values: [B, C] float64.
        labels: names of these columns; None: they are in the server's order.
        model, revision: what has answered; None where the answer does not tell.
        top: the name of each row's largest score; None where the answer has none.
    """

    values: np.ndarray
    kind: Kind
    labels: tuple[str, ...] | None = None
    model: str | None = None
    revision: str | None = None
    top: tuple[str | None, ...] | None = None


class Form(Protocol):
    """How a server is asked.

    Attributes:
        pairs: whether it takes pairs of texts.
        names_revision: whether an answer tells the revision, null included.
    """

    pairs: bool
    names_revision: bool

    def identify(self, ask: Ask, url: str, pairs: bool, outputs: Outputs) -> Identity:
        """What the server at an address serves; Refused where it does not say that."""
        ...

    def scores(
        self, ask: Ask, url: str, texts: Sequence[str], pairs: Sequence[str] | None, model: str, outputs: Outputs
    ) -> Scores:
        """The answer for these rows; Refused where it has not one for each."""
        ...


class RaykdForm:
    """`POST URL` with texts and pairs; names, model and revision stand in each answer."""

    pairs, names_revision = True, True

    def identify(self, ask: Ask, url: str, pairs: bool, outputs: Outputs) -> Identity:
        """From an answer to the probe."""
        answer = self.scores(ask, url, PROBE, PROBE if pairs else None, "", outputs)
        return Identity(str(answer.model), answer.revision, answer.labels, answer.values.shape[1])

    def scores(
        self, ask: Ask, url: str, texts: Sequence[str], pairs: Sequence[str] | None, model: str, outputs: Outputs
    ) -> Scores:
        """`outputs` decides which of the answer's numbers are read; log-probabilities go before probabilities."""
        answer = _mapping(ask(url, {"texts": list(texts), "pairs": None if pairs is None else list(pairs)}), "answer")
        kinds: tuple[Kind, ...] = ("logits",) if outputs == "logits" else ("log_probabilities", "probabilities")
        kind = next((kind for kind in kinds if answer.get(kind) is not None), None)
        if kind is None:
            raise Refused(f"its answer has no {' or '.join(kinds)}, as outputs: {outputs} asks for")
        labels = answer.get("labels")
        return Scores(
            _matrix(answer[kind], len(texts)),
            kind,
            None if labels is None else _names(labels),
            model=_text(answer.get("model"), "model"),
            revision=None if answer.get("revision") is None else _text(answer["revision"], "revision"),
        )


class VllmForm:
    """`POST /classify` and `GET /v1/models` of vLLM; SGLang has the first under /v1, so its address ends with that."""

    pairs, names_revision = False, False

    def identify(self, ask: Ask, url: str, pairs: bool, outputs: Outputs) -> Identity:
        """The first model of the list; the number of classes from an answer to the probe."""
        base = url.removesuffix("/classify").removesuffix("/v1")
        served = _list(_mapping(ask(f"{base}/v1/models", None), "list of models").get("data"), "list of models")
        if not served:
            raise Refused("it serves no model")
        model = _text(_mapping(served[0], "list of models").get("id"), "id of a model")
        answer = self.scores(ask, url, PROBE, None, model, outputs)
        return Identity(model, None, None, answer.values.shape[1])

    def scores(
        self, ask: Ask, url: str, texts: Sequence[str], pairs: Sequence[str] | None, model: str, outputs: Outputs
    ) -> Scores:
        """Rows by their `index`. Texts are cut at the model's own length (−1), their beginning is kept."""
        cut = {"truncate_prompt_tokens": -1, "truncation_side": "right"}
        body: dict[str, Any] = {"model": model, "input": list(texts), **cut}
        if outputs == "logits":
            body["use_activation"] = False
        answer = _mapping(ask(f"{url.removesuffix('/classify')}/classify", body), "answer")
        rows = [_mapping(row, "row") for row in _list(answer.get("data"), "data")]
        places = [row.get("index") for row in rows]
        if len(rows) == len(texts) and sorted(map(str, places)) != sorted(map(str, range(len(texts)))):
            raise Refused(f"the index of its rows is not 0 to {len(texts) - 1}, each once")
        if len(rows) == len(texts):
            rows.sort(key=lambda row: int(row["index"]))
        values = _matrix([row.get("probs") for row in rows], len(texts))
        if any(row.get("num_classes", values.shape[1]) != values.shape[1] for row in rows):
            raise Refused(f"its num_classes are not the {values.shape[1]} numbers of a row")
        top = tuple(None if row.get("label") is None else str(row["label"]) for row in rows)
        return Scores(values, outputs, model=_text(answer.get("model"), "model"), top=top)


class TeiForm:
    """`POST /predict` and `GET /info` of Text Embeddings Inference; its answers do not say which model they are of."""

    pairs, names_revision = True, False

    def identify(self, ask: Ask, url: str, pairs: bool, outputs: Outputs) -> Identity:
        """Model, revision and labels from /info."""
        info = _mapping(ask(f"{url.removesuffix('/predict')}/info", None), "info")
        kind = _mapping(info.get("model_type"), "model_type").get("classifier")
        if kind is None:
            raise Refused("its model is no classifier")
        names = _mapping(_mapping(kind, "classifier").get("id2label"), "id2label")
        if set(names) != {str(k) for k in range(len(names))}:
            raise Refused("its id2label does not number the labels from 0")
        most = info.get("max_client_batch_size")
        return Identity(
            _text(info.get("model_id"), "model_id"),
            None if info.get("model_sha") is None else _text(info["model_sha"], "model_sha"),
            _names([names[str(k)] for k in range(len(names))]),
            len(names),
            most if isinstance(most, int) else None,
        )

    def scores(
        self, ask: Ask, url: str, texts: Sequence[str], pairs: Sequence[str] | None, model: str, outputs: Outputs
    ) -> Scores:
        """Rows in their order, the scores of each by label: the server sorts them."""
        inputs = (
            [[text] for text in texts] if pairs is None else [list(pair) for pair in zip(texts, pairs, strict=True)]
        )
        body = {"inputs": inputs, "raw_scores": outputs == "logits", "truncate": True}
        rows = _list(ask(f"{url.removesuffix('/predict')}/predict", body), "answer")
        _check_rows(len(rows), len(texts))
        scores = [_by_label(row) for row in rows]
        labels = _names(sorted(scores[0]))
        for row in scores:
            if set(row) != set(labels):
                raise Refused(f"its rows have different labels: {_some(sorted(row))} and {_some(labels)}")
        return Scores(_matrix([[row[label] for label in labels] for row in scores], len(texts)), outputs, labels)


FORMS: dict[EndpointForm, Form] = {"raykd": RaykdForm(), "vllm": VllmForm(), "tei": TeiForm()}


def _by_label(row: Any) -> dict[str, Any]:
    entries = [_mapping(entry, "row") for entry in _list(row, "row")]
    scores = {_text(entry.get("label"), "label"): entry.get("score") for entry in entries}
    if len(scores) < len(entries):
        raise Refused("it names a label twice in a row")
    return scores


def _matrix(rows: Any, asked: int) -> np.ndarray:
    """Numbers [B, C] of an answer, all finite."""
    rows = [_list(row, "row") for row in _list(rows, "rows")]
    _check_rows(len(rows), asked)
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {0}:
        raise Refused(f"its rows have different numbers of classes ({', '.join(map(str, sorted(widths)))})")
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for row in rows for number in row):
        raise Refused("its rows hold something else than numbers")
    try:
        values = np.asarray(rows, np.float64)
    except OverflowError:
        raise Refused("its rows hold an integer that is no float64") from None
    finite = (np.abs(values) <= np.finfo(np.float32).max).all(1)  # as which they are stored; NaN is not below it
    if not finite.all():
        raise Refused(f"its numbers for row {int(np.flatnonzero(~finite)[0])} are not finite")
    return values


def _check_rows(answered: int, asked: int) -> None:
    if answered != asked:
        raise Refused(f"it answered {answered} rows, asked were {asked}")


def _names(labels: Any) -> tuple[str, ...]:
    names = tuple(_text(label, "label") for label in _list(labels, "labels"))
    if len(set(names)) < len(names):
        raise Refused(f"it names a label twice: {_some(names)}")
    return names


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"its {what} is no JSON object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"its {what} is no JSON list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(f"its {what} is missing or no text")
    return value


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")

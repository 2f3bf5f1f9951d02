"""From an answer's numbers to logits in the task's order of classes; refuses those of another model, class or kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raykd.teachers.serving.endpoint import FLOOR, Endpoint
from raykd.teachers.serving.endpoint_forms import Identity, Scores
from raykd.teachers.serving.http_json import Refused

SUM_TOLERANCE = 0.01
"""By how much the probabilities of a row may miss 1: those of a model in bfloat16 do by nearly as much."""
NO_LOGITS_ROWS, NO_LOGITS_TOLERANCE = 4, 1e-3
"""Where so many rows, and all of an answer, are ≥ 0 and sum to 1, they are no logits: the server did not know the key
that asks for them."""


def check_model(model: str, wanted: str) -> None:
    """Refuses a server of another model than is wanted."""
    if model != wanted:
        raise Refused(f"it serves the model {model!r}, asked was {wanted!r}")


def check_revision(revision: str | None, wanted: str | None) -> None:
    """Refuses a server of another revision; None is that of a server that tells none."""
    if revision != wanted:
        serves, asked = (f"the revision {each!r}" if each is not None else "no revision" for each in (revision, wanted))
        raise Refused(f"it tells {serves}, asked was {asked}")


def check_identity(identity: Identity, endpoint: Endpoint, classes: int) -> None:
    """Refuses a server that is not what the run began with."""
    check_model(identity.model, endpoint.model)
    check_revision(identity.revision, endpoint.revision)
    if identity.classes != classes:
        raise Refused(f"it has {identity.classes} classes, the teacher {classes}")
    if set(identity.labels or ()) != set(endpoint.labels or ()):
        raise Refused(f"its labels are {_some(identity.labels)}, the run began with {_some(endpoint.labels)}")


def task_logits(
    scores: Scores, endpoint: Endpoint, columns: Sequence[int], names: Sequence[str], names_revision: bool
) -> np.ndarray:
    """Logits [B, C] in the task's order of classes, float64; of probabilities their logarithms (see `FLOOR`).

    Args:
        columns: the permutation that puts the server's columns in that order.
        names: the task's classes; empty in a regression.
        names_revision: whether an answer tells the revision.

    Raises:
        Refused: the answer is of another model or revision, has other classes, or its numbers are not what they are
            taken for.
    """
    if scores.model is not None:
        check_model(scores.model, endpoint.model)
    if names_revision:
        check_revision(scores.revision, endpoint.revision)
    values = _in_servers_order(scores, endpoint)
    if values.shape[1] != len(columns):
        raise Refused(f"it answered {values.shape[1]} classes, the teacher has {len(columns)}")
    values = values[:, list(columns)]
    _check_top(scores, values, names)
    if scores.kind == "logits":
        _check_logits(values)
        return values
    probabilities = np.exp(values) if scores.kind == "log_probabilities" else values
    _check_probabilities(probabilities)
    if scores.kind == "log_probabilities":
        return np.maximum(values, np.log(FLOOR))
    return np.log(np.maximum(values, FLOOR))


def _in_servers_order(scores: Scores, endpoint: Endpoint) -> np.ndarray:
    """Columns by the names of the answer, in the order that the server had at the start."""
    if scores.labels is None and endpoint.labels is None:
        return scores.values
    theirs, wanted = scores.labels or (), endpoint.labels or ()
    if scores.labels is None and scores.top is not None:
        return scores.values  # this form names no columns
    if set(theirs) != set(wanted):
        raise Refused(f"its answer has the labels {_some(theirs)}, the run began with {_some(wanted)}")
    return scores.values[:, [theirs.index(label) for label in wanted]]


def _check_top(scores: Scores, values: np.ndarray, names: Sequence[str]) -> None:
    """Refuses an order of classes that the name of a row's largest score contradicts; other names are a renaming."""
    if scores.top is None or not names:
        return
    known = {name.casefold(): k for k, name in enumerate(names)}
    for row, label in zip(values, scores.top, strict=True):
        first, second = np.argsort(-row)[:2]
        place = known.get(str(label).strip().casefold())
        if place is not None and place != first and row[first] > row[second]:
            raise Refused(
                f"its largest score is of {label!r} and was taken for {names[first]!r}: see teachers[].labels"
            )


def _check_logits(values: np.ndarray) -> None:
    if values.shape[1] < 2 or len(values) < NO_LOGITS_ROWS or values.min() < 0:
        return
    if np.abs(values.sum(1) - 1).max() < NO_LOGITS_TOLERANCE:
        mend = "set outputs: probabilities, or let the server give logits"
        raise Refused(f"its numbers are probabilities, and outputs is logits: {mend}")


def _check_probabilities(values: np.ndarray) -> None:
    if values.min() < 0 or np.abs(values.sum(1) - 1).max() > SUM_TOLERANCE:
        row = int(np.argmax(np.abs(values.sum(1) - 1) + (values.min(1) < 0)))
        numbers = ", ".join(f"{number:.4g}" for number in values[row, :6])
        raise Refused(
            f"its numbers for row {row} ({numbers}) are no probabilities: they are negative or do not sum to 1"
        )


def _some(labels: Sequence[str] | None) -> str:
    if not labels:
        return "none"
    return ", ".join(labels[:6]) + (", …" if len(labels) > 6 else "")

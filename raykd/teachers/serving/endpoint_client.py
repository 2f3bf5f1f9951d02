"""Asks the servers of an endpoint for rows, elsewhere or later where one gives no answer.

What may pass (no connection, no answer in time, a cut answer, status 408, 429, 5xx) is tried again. All else ends at
once: another status, another model, another number of rows or classes, numbers that are not finite.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from raykd.errors import TeacherError
from raykd.teachers.serving.endpoint import Endpoint
from raykd.teachers.serving.endpoint_forms import FORMS, Ask, Identity
from raykd.teachers.serving.endpoint_scores import check_identity, task_logits
from raykd.teachers.serving.http_json import Refused, Unavailable, ask

log = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""For which a server is left alone after a failure, and after many; a server's own Retry-After goes before."""
ANSWER_BYTES, NUMBER_BYTES = 2**20, 512
"""A longer answer is not read: so much, and so much for each number with the name of its class."""


class EndpointClient:
    """The servers of an endpoint in turn, one request at a time.

    Args:
        name: the teacher's.
        columns: the permutation that puts a server's columns in the task's order.
        labels: the task's classes in that order; empty in a regression.
        token: a bearer token.
        start: the place of the server that is asked first.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        columns: Sequence[int],
        labels: Sequence[str],
        token: str | None,
        start: int = 0,
    ) -> None:
        self.name, self.endpoint, self.columns, self.labels = name, endpoint, columns, labels
        self.form, self._token = FORMS[endpoint.form], token
        self._servers = [_Server(url) for url in endpoint.urls]
        self._next = start % len(self._servers)

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        """Logits [B, C] of these rows in the task's order of classes, float64.

        Raises:
            TeacherError: no server answers, or one refuses or answers what must not be used; with its address.
        """
        attempts = self.endpoint.retries + 1
        for attempt in range(attempts):
            server = self._ready_server()
            try:
                logits = self._ask(server, texts, pairs)
            except Unavailable as error:
                server.failed(error)
                log.info("teacher %s: %s: %s (attempt %d)", self.name, server.url, error.what, attempt + 1)
            except Refused as error:
                raise TeacherError(f"teacher {self.name}", f"{server.url}: {error.what}") from None
            else:
                server.answered()
                return logits
        problems = "; ".join(f"{server.url}: {server.problem}" for server in self._servers if server.problem)
        raise TeacherError(f"teacher {self.name}", f"no answer in {attempts} attempts: {problems}")

    def _ask(self, server: _Server, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        endpoint, classes = self.endpoint, len(self.columns)
        asking = asker(self._token, endpoint.timeout_s, len(texts) * classes)
        if not server.identified:
            check_identity(identify(endpoint, server.url, self._token, pairs is not None), endpoint, classes)
            server.identified = True
        scores = self.form.scores(asking, server.url, texts, pairs, endpoint.model, endpoint.outputs)
        return task_logits(scores, endpoint, self.columns, self.labels, self.form.names_revision)

    def _ready_server(self) -> _Server:
        """The next server that need not be left alone; where there is none the first that will be, once it is."""
        in_turn, now = self._servers[self._next :] + self._servers[: self._next], time.monotonic()
        server = min(in_turn, key=lambda each: max(each.ready_at, now))
        time.sleep(max(0.0, server.ready_at - now))
        self._next = (self._servers.index(server) + 1) % len(self._servers)
        return server


class _Server:
    """One address: when it may be asked again, and whether it is known to serve the teacher's model."""

    def __init__(self, url: str) -> None:
        self.url, self.problem = url, ""
        self.failures, self.ready_at, self.identified = 0, 0.0, False

    def failed(self, error: Unavailable) -> None:
        pause = FIRST_PAUSE_S * 2**self.failures if error.retry_after_s is None else error.retry_after_s
        self.ready_at = time.monotonic() + min(pause, LONGEST_PAUSE_S)
        self.failures = min(self.failures + 1, 10)
        self.problem = error.what
        self.identified = False  # it may come back with another model

    def answered(self) -> None:
        self.failures, self.problem = 0, ""


def asker(token: str | None, timeout_s: float, numbers: int) -> Ask:
    """A function that asks an address, for an answer of so many numbers."""

    def asking(url: str, body: Any) -> Any:
        return ask(url, body, token, timeout_s, ANSWER_BYTES + NUMBER_BYTES * numbers)

    return asking


def identify(endpoint: Endpoint, url: str, token: str | None, pairs: bool) -> Identity:
    """What the server at an address serves.

    Raises:
        Unavailable, Refused: it does not say that.
    """
    return FORMS[endpoint.form].identify(asker(token, endpoint.timeout_s, 0), url, pairs, endpoint.outputs)

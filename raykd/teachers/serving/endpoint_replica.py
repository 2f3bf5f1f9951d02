"""A copy of a teacher that asks a server over HTTP: texts out, logits in."""

from __future__ import annotations

import logging
import os
import time

import numpy as np

from raykd.data.rows import Rows
from raykd.data.splits import Split, TextSplit
from raykd.teachers.serving.endpoint import bearer_token
from raykd.teachers.serving.endpoint_client import EndpointClient
from raykd.teachers.serving.replica import ActorResources, Answer, in_health_group
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)


class EndpointReplica:
    """Asks the servers of `teacher.endpoint` in turn, beginning with one that its process's number decides.

    Calls are answered one after the other, so as many requests are under way as there are replicas.
    """

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        assert teacher.endpoint is not None
        self.teacher, self.rows = teacher, 0
        self._client: EndpointClient | None = None
        self._files: dict[str, Rows] = {}

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        """The logits of these rows, by one request; see `Replica.infer`.

        Raises:
            TeacherError: no server answers, or one refuses or answers what must not be used.
            ConfigError: the token's environment variable is not set here.
        """
        begun, teacher = time.perf_counter(), self.teacher
        rows = self._rows_of(split)
        logits = self._connected().logits(rows.texts(ids), rows.pairs(ids)).astype(teacher.wire)
        self.rows += len(ids)
        return Answer(teacher.identity, teacher.version, split.texts, ids, logits, time.perf_counter() - begun)

    @in_health_group
    def health(self) -> dict[str, int]:
        """The process and the rows that it answered."""
        return {"pid": os.getpid(), "rows": self.rows}

    def _connected(self) -> EndpointClient:
        """Made at the first call: an error of it ends the run with its text, one of `__init__` as a dead actor."""
        if self._client is None:
            endpoint, teacher = self.teacher.endpoint, self.teacher
            assert endpoint is not None
            token = bearer_token(endpoint.token_variable)
            self._client = EndpointClient(
                teacher.name, endpoint, teacher.columns, teacher.labels, token, start=os.getpid()
            )
            log.info("teacher %s asks %d servers for %s", teacher.name, len(endpoint.urls), endpoint.model)
        return self._client

    def _rows_of(self, split: Split) -> Rows:
        if isinstance(split, TextSplit):  # asked once, and no two are alike
            return split.open()
        if split.fingerprint not in self._files:
            self._files[split.fingerprint] = split.open()
        return self._files[split.fingerprint]

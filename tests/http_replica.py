"""A replica that asks a server over HTTP, in a module of its own: Ray's workers import it by its name."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path

import numpy as np

from raykd.data.splits import Split
from raykd.errors import TeacherError
from raykd.teachers.serving.replica import ActorResources, Answer
from raykd.teachers.teacher_model import TeacherModel


class HttpReplica:
    """Sends texts to the URL that stands in the teacher's folder and takes logits back."""

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        self.teacher, self.rows = teacher, 0
        self.url = (Path(teacher.folder) / "url").read_text(encoding="utf-8")

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        begun = time.perf_counter()
        texts = split.open().texts(ids)
        with urllib.request.urlopen(self.url, json.dumps(texts).encode(), timeout=10) as reply:
            logits = np.asarray(json.loads(reply.read()), self.teacher.wire)
        if logits.shape != (len(ids), self.teacher.classes):
            raise TeacherError(f"teacher {self.teacher.name}", f"the server sent logits of shape {logits.shape}")
        self.rows += len(ids)
        teacher = self.teacher
        return Answer(teacher.identity, teacher.version, split.texts, ids, logits, time.perf_counter() - begun)

    def health(self) -> dict[str, int]:
        return {"pid": os.getpid(), "rows": self.rows}

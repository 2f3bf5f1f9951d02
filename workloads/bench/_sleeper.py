"""A replica that sleeps instead of computing: a teacher on another machine, as seen from this one. Free of torch."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from raykd.data.splits import Split
from raykd.teachers.serving.replica import ActorResources, Answer, in_health_group
from raykd.teachers.teacher_model import TeacherModel


class Sleeper:
    """A `Replica` that answers with made-up logits after sleeping for each row; it uses no cores."""

    def __init__(self, teacher: TeacherModel, actor_resources: ActorResources) -> None:
        self.teacher, self.rows = teacher, 0
        self.seconds_per_row = float(json.loads(_speed_file(Path(teacher.folder)).read_text(encoding="utf-8")))

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        """Made-up logits [B, C]; takes `seconds_per_row` for each row."""
        seconds = self.seconds_per_row * len(ids)
        time.sleep(seconds)
        self.rows += len(ids)
        teacher = self.teacher
        logits = made_up_logits(ids, teacher.classes)
        return Answer(teacher.identity, teacher.version, split.texts, ids, logits, seconds)

    @in_health_group
    def health(self) -> dict[str, int]:
        """The process and the rows that it answered."""
        return {"pid": os.getpid(), "rows": self.rows}


def set_speed(folder: Path, seconds_per_row: float) -> None:
    """Writes the "checkpoint" of a teacher that sleeps."""
    folder.mkdir()
    _speed_file(folder).write_text(json.dumps(seconds_per_row), encoding="utf-8")


def made_up_logits(ids: np.ndarray, classes: int) -> np.ndarray:
    """Some logits [len(ids), classes] that depend on the ids alone."""
    return np.sin(np.outer(ids + 1, np.arange(1, classes + 1))).astype(np.float32)


def _speed_file(folder: Path) -> Path:
    return folder / "seconds_per_row.json"

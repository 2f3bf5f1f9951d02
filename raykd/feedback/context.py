"""What a feedback works with: the teachers that it may ask and train, and what it must know of its run and worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from raykd.config import CotangentFeedbackConfig
from raykd.data.batch import Batch
from raykd.data.splits import Split
from raykd.data.tasks import Task
from raykd.feedback.quiz import QuizLoss
from raykd.records.log import MetricsLog
from raykd.teachers.feedback.message import Key, TeacherFeedback
from raykd.training.job import Subset, WorkerContext

StudentLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Batch], torch.Tensor]
"""logits_BC, targets_KBC, weights_BK, batch → Σ_i L_i / global rows."""


class LearnableTeachers(Protocol):
    """The K teachers, of which some learn; `TrainableEnsemble` has the details."""

    wire_bytes: int

    @property
    def trainable(self) -> Mapping[int, Any]:
        """Those that learn, by their place among the K."""

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C] of the newest version."""

    def reference_logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C] of version 0."""

    def send(self, key: Key, messages: dict[int, TeacherFeedback]) -> None:
        """Feedback for each teacher that learns, by its place among the K, on the rows opened under `key`."""

    def step(self, measure: bool) -> dict[str, dict[str, float]]:
        """An optimizer step of each; by name its metrics, on worker 0."""

    def evaluate(self, split: Split, ids: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
        """Logits and drift by name, on worker 0."""

    def save(self, folder: Path) -> None:
        """Writes their states into a checkpoint's folder."""

    def restore(self, folder: Path) -> None:
        """Takes up the states that `save` has written."""

    def export(self, folder: Path) -> dict[str, Path]:
        """Writes them as Hugging Face checkpoints; their folders by name."""


@dataclass(frozen=True)
class FeedbackContext:
    """What a feedback needs to know of its run and worker.

    Attributes:
        loss: the student's own, for the pilot.
        dtype: in which targets and logits meet.
        autocast: whether the student's own step runs in half precision; a pilot never does.
        lr: the student's peak rate, η where `pilot_lr` is not set.
        steps_per_epoch: of the student.
        log: of worker 0, None elsewhere.
    """

    settings: CotangentFeedbackConfig
    teachers: LearnableTeachers
    loss: StudentLoss
    quiz_loss: QuizLoss
    task: Task
    validation: Subset
    worker: WorkerContext
    dtype: torch.dtype
    autocast: bool
    seed: int
    lr: float
    steps_per_epoch: int
    log: MetricsLog | None

"""The step without a teacher: CE(z, y), or the squared error in a regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.job import Clock, Job, Loss, Place


class SupervisedStep:
    """The hard loss alone."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.clock = Clock()

    def expect(self, batches: list[np.ndarray]) -> None:
        """Needs nothing ahead of time."""

    def begin(self, model: PreTrainedModel, batches: list[Batch]) -> None:
        """Nothing to prepare."""

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """The hard loss of the rows."""
        hard = self.task.hard_loss(forward.logits(model, batch.encoded), batch.labels_B).sum() / batch.global_rows
        return Loss(hard, {"hard": hard.detach()})

    def end(self, model: PreTrainedModel, batches: list[Batch]) -> None:
        """Nothing to tell."""

    def close(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True)
class Supervised:
    """Factory of `SupervisedStep`."""

    def build(self, job: Job, place: Place) -> SupervisedStep:
        """The same on every worker."""
        return SupervisedStep(job.task)

"""The step without a teacher: CE(z, y), or the squared error in a regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.job import Job, Step, StepLoss, WorkerContext


class SupervisedStep(Step):
    """The step of a model that is trained on labels alone: a teacher, or the baseline `alone`."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def loss(self, model: PreTrainedModel, batch: Batch) -> StepLoss:
        """The hard loss of the rows, in float32 (float64 where the model is) also under autocast."""
        logits_BC = forward.logits(model, batch.encoded)
        # bfloat16 has 8 binary digits: labels and squared errors of a regression are not for it.
        logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32))
        hard = self.task.hard_loss(logits_BC, batch.labels_B).sum() / batch.global_rows
        return StepLoss(hard, {"hard": hard.detach()})


@dataclass(frozen=True)
class SupervisedStepFactory:
    """Builds a worker's `SupervisedStep`; picklable."""

    def build(self, job: Job, worker: WorkerContext) -> SupervisedStep:
        """The same on every worker."""
        return SupervisedStep(job.task)

"""One batch: L = α · soft(z_S, targets, w) + (1 − α) · hard(z_S, y). Here weighting, feedback and objective meet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd import feedback, objective, weighting
from raykd.config import FeedbackConfig, ObjectiveConfig, WeightingConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback import Feedback
from raykd.models import forward
from raykd.objective import Objective
from raykd.teachers.client import Ensemble, Source
from raykd.teachers.local import LocalEnsemble, LocalTeacher
from raykd.training.job import Clock, Job, Loss, Place
from raykd.weighting import Weighting


class Targets(Protocol):
    """K teachers' logits, from wherever they come."""

    def expect(self, batches: list[np.ndarray]) -> None:
        """These rows come next."""

    def at_hand(self, ids: np.ndarray) -> int:
        """Rows times teachers that need no waiting."""

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C]."""

    def close(self) -> None:
        """Gives back what is held."""


@dataclass
class _Round:
    """What a micro-batch is taught in this round, and what it lost."""

    targets_KBC: torch.Tensor
    weights_BK: torch.Tensor
    losses_B: torch.Tensor | None = None


class DistilStep:
    """The student's step on soft targets."""

    def __init__(
        self,
        task: Task,
        alpha: float,
        loss: Objective,
        blend: Weighting,
        teach_back: Feedback,
        targets: Targets,
        dtype: torch.dtype,
    ) -> None:
        self.task, self.alpha, self.objective = task, alpha, loss
        self.weighting, self.feedback, self.targets, self.dtype = blend, teach_back, targets, dtype
        self.clock = Clock()
        self._rounds: dict[int, _Round] = {}

    def expect(self, batches: list[np.ndarray]) -> None:
        """Asks for the soft targets of the next batches."""
        begun = time.perf_counter()
        self.targets.expect(batches)
        self.clock.targets_s += time.perf_counter() - begun

    def begin(self, model: PreTrainedModel, batches: list[Batch]) -> None:
        """Takes the targets, weighs the teachers once for the round, lets them learn."""
        self._rounds = {}
        for batch in batches:
            logits_KBC = self._fetch(batch)
            begun = time.perf_counter()
            weights_BK = self.weighting.weigh(batch, logits_KBC)
            targets_KBC = self.feedback.before(batch, weights_BK, logits_KBC)
            self._rounds[batch.micro] = _Round(targets_KBC, weights_BK)
            self.clock.targets_s += time.perf_counter() - begun

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """The blended loss of a micro-batch, each row weighing 1 / batch.global_rows."""
        now = self._rounds[batch.micro]
        logits_BC = forward.logits(model, batch.encoded)
        begun = time.perf_counter()
        # The small algebra of the loss is done in full precision, also where the forward pass is in bfloat16.
        logits_BC = logits_BC.to(self.dtype)
        soft_B = self.objective.per_example(logits_BC, now.targets_KBC, now.weights_BK)
        self.clock.targets_s += time.perf_counter() - begun
        hard_B = self.task.hard_loss(logits_BC, batch.labels_B)
        losses_B = self.alpha * soft_B + (1 - self.alpha) * hard_B
        now.losses_B = losses_B.detach()
        soft, hard = soft_B.detach().sum() / batch.global_rows, hard_B.detach().sum() / batch.global_rows
        return Loss(losses_B.sum() / batch.global_rows, {"soft": soft, "hard": hard})

    def end(self, model: PreTrainedModel, batches: list[Batch]) -> None:
        """Tells weighting and feedback what the step led to."""
        for batch in batches:
            now = self._rounds[batch.micro]
            assert now.losses_B is not None
            self.weighting.observe(batch, now.weights_BK, now.losses_B)
            self.feedback.after(batch, now.weights_BK, now.targets_KBC)

    def close(self) -> None:
        """Lets go of the teachers."""
        self.targets.close()

    def _fetch(self, batch: Batch) -> torch.Tensor:
        begun = time.perf_counter()
        hits = self.targets.at_hand(batch.ids)
        logits_KBC = self.targets.get(batch.ids)
        self.clock.asked += logits_KBC.shape[0] * len(batch.ids)
        self.clock.hits += hits
        self.clock.wait_s += time.perf_counter() - begun
        return torch.from_numpy(logits_KBC).to(batch.labels_B.device, self.dtype)


@dataclass(frozen=True)
class Distil:
    """Factory of `DistilStep`; with `in_loop` the teachers are called by the student itself, without any service."""

    sources: tuple[Source, ...]
    objective: ObjectiveConfig
    weighting: WeightingConfig
    feedback: FeedbackConfig
    in_loop: bool = False

    def build(self, job: Job, place: Place) -> DistilStep:
        """The step of one worker, with its own clients."""
        targets: Targets
        if self.in_loop:
            loaded = [LocalTeacher(source.teacher, place.device) for source in self.sources]
            targets = LocalEnsemble(loaded, job.train.split)
        else:
            targets = Ensemble(self.sources)
        return DistilStep(
            job.task,
            self.objective.alpha,
            objective.build(self.objective),
            weighting.build(self.weighting),
            feedback.build(self.feedback),
            targets,
            torch.float64 if job.settings.precision == "float64" else torch.float32,
        )

"""The other way to a MetaDistil round: teacher and student in one process, one graph through pilot and quiz.

What the bench `feedback` compares with; the same gradient, by `create_graph`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from raykd import objective
from raykd.config import MetaDistilConfig, ObjectiveConfig, OptimConfig, WeightingConfig
from raykd.feedback import Feedback, QuizLoss, Round
from raykd.models import forward
from raykd.student.factory import build_weighting
from raykd.student.step import DistillLoss, DistillStep
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource
from raykd.training.dropout import dropout_seed
from raykd.training.encoder import student_encoder
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.optim import build_optimizer
from raykd.training.replacement_sampler import ReplacementSampler


@dataclass(frozen=True)
class DoubleBackward:
    """Factory of the student's step with its teacher's round in the same process."""

    source: TargetSource
    objective: ObjectiveConfig
    weighting: WeightingConfig
    feedback: MetaDistilConfig
    quiz: Subset

    def build(self, job: Job, worker: WorkerContext) -> DistillStep:
        """The step of the only worker."""
        distill_loss = DistillLoss(job.task, self.objective.alpha, objective.build(self.objective))
        teacher = _InGraph(LocalTeacher(self.source.teacher, worker.device), self.source)
        rows = self.feedback.quiz_batches * job.settings.batch_size
        encoder = student_encoder(job, self.quiz)
        quiz_loss = QuizLoss(job.task, ReplacementSampler("quiz", encoder, self.quiz.ids, rows, job.seed, worker))
        pilot_lr = self.feedback.pilot_lr or job.settings.lr
        settings = OptimConfig(lr=self.feedback.teacher_lr, max_grad_norm=self.feedback.teacher_max_grad_norm)
        rounds = _Rounds(distill_loss, teacher, quiz_loss, pilot_lr, settings, job.seed)
        return DistillStep(
            distill_loss,
            build_weighting(self.weighting, None, (self.source,), job, worker),
            teacher,
            torch.float32,
            rounds,
        )


class _InGraph:
    """The teacher as targets: its logits keep their graph until the round is over."""

    def __init__(self, local: LocalTeacher, source: TargetSource) -> None:
        self.local, self.source = local, source
        self.logits_BC = torch.empty(0)

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Does nothing: logits are computed when they are needed."""

    def available(self, ids: np.ndarray) -> int:
        """0: every row is computed when it is asked for."""
        return 0

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [1, len(ids), C], computed now."""
        self.logits_BC = self.local.forward(self.source.split, ids)
        return self.logits_BC.detach()[None].numpy()

    def fresh(self, ids: np.ndarray) -> torch.Tensor:
        """The same without a graph."""
        with torch.no_grad():
            return self.local.forward(self.source.split, ids)[None]

    def close(self) -> None:
        """Does nothing: there is no service to let go of."""


class _Rounds(Feedback):
    """Pilot, quiz, one backward through both, the teacher's step."""

    def __init__(
        self,
        distill_loss: DistillLoss,
        teacher: _InGraph,
        quiz_loss: QuizLoss,
        pilot_lr: float,
        settings: OptimConfig,
        seed: int,
    ) -> None:
        self.distill_loss, self.teacher, self.quiz_loss = distill_loss, teacher, quiz_loss
        self.pilot_lr, self.seed = pilot_lr, seed
        self.max_norm = settings.max_grad_norm if settings.max_grad_norm is not None else float("inf")
        self.parameters = list(teacher.local.model.parameters())
        self.optimizer = build_optimizer(teacher.local.model, settings)

    def due(self, step: int) -> bool:
        """True: every step is a round."""
        return True

    def before(self, now: Round) -> list[torch.Tensor]:
        """The round; returns the targets of the teacher that has just stepped."""
        (batch,), (weights_BK,) = now.batches, now.weights
        theta = {name: parameter for name, parameter in now.model.named_parameters() if parameter.requires_grad}
        # Of the kernels for attention only the plain one has a second derivative.
        with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
            torch.manual_seed(dropout_seed(self.seed, batch.step, batch.micro, 0))
            logits_BC = forward.logits_at(now.model, theta, batch.encoded)
        loss = self.distill_loss.share(logits_BC, self.teacher.logits_BC[None], weights_BK, batch)
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        steps = zip(theta.items(), gradients, strict=True)
        phi = {name: parameter - self.pilot_lr * gradient for (name, parameter), gradient in steps}
        quiz = self.quiz_loss.loss(now.model, now.step, 0)(phi)
        feedback = torch.autograd.grad(quiz, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, feedback, strict=True):
            # As raykd does, whose cotangents leave the pilot's rate out.
            parameter.grad = None if gradient is None else gradient / self.pilot_lr
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.teacher.logits_BC = torch.empty(0)
        return [self.teacher.fresh(batch.ids)]

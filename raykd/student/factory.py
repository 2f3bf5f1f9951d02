"""Builds a worker's distillation step: targets from the service, the loop or teachers that learn; loss; feedback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from raykd import objective
from raykd.config import FeedbackConfig, ObjectiveConfig, WeightingConfig
from raykd.feedback import IKD, FeedbackContext, MetaDistil, QuizLoss
from raykd.feedback.cotangent_feedback import CotangentFeedback
from raykd.models import forward
from raykd.records.log import MetricsLog
from raykd.student import weighting as weigh
from raykd.student.step import DistillLoss, DistillStep, DropoutKey
from raykd.student.weighting import WeightingInputs, WeightReporter, student_encoder
from raykd.teachers.feedback.ensemble import TrainableEnsemble
from raykd.teachers.feedback.trainer import TeacherTrainerSpec
from raykd.teachers.local import LocalEnsemble, LocalTeacher
from raykd.teachers.serving.client import Ensemble, TargetSource
from raykd.teachers.serving.replica import ActorResources
from raykd.training.batch_schedule import BatchSchedule
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.optim import steps_per_epoch, total_steps
from raykd.training.replacement_sampler import ReplacementSampler


@dataclass(frozen=True)
class FeedbackSetup:
    """What a run with feedback adds.

    Attributes:
        learners: for each teacher the seat of its ranks, None where it stays as it is.
        quiz: rows of the quiz; None where the exam is taken from the training rows.
    """

    feedback: FeedbackConfig
    actor_resources: tuple[ActorResources | None, ...]
    quiz: Subset | None


@dataclass(frozen=True)
class DistillStepFactory:
    """Factory of `DistilStep`; with `in_loop` the teachers are called by the student itself, without any service."""

    sources: tuple[TargetSource, ...]
    objective: ObjectiveConfig
    weighting: WeightingConfig
    in_loop: bool = False
    feedback_setup: FeedbackSetup | None = None
    weighting_inputs: WeightingInputs | None = None

    def build(self, job: Job, worker: WorkerContext) -> DistillStep:
        """The step of one worker, with its own clients."""
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        distill_loss = DistillLoss(job.task, self.objective.alpha, objective.build(self.objective))
        weighting = weigh.build(self.weighting, self.weighting_inputs, self.sources, job, worker)
        survey = (
            WeightReporter(job, tuple(source.teacher.name for source in self.sources)) if worker.rank == 0 else None
        )
        if self.in_loop:
            loaded = [LocalTeacher(source.teacher, worker.device) for source in self.sources]
            return DistillStep(distill_loss, weighting, LocalEnsemble(loaded, job.train.split), dtype)
        cast = forward.choose_dtype(job.settings.precision, worker.device)[0]
        dropout_key = DropoutKey(worker.rank, job.seed, cast)
        if self.feedback_setup is None:
            return DistillStep(
                distill_loss, weighting, Ensemble(self.sources), dtype, dropout_key=dropout_key, survey=survey
            )
        feedback, ensemble = self._feedback(self.feedback_setup, job, worker, distill_loss, dtype)
        return DistillStep(distill_loss, weighting, ensemble, dtype, feedback, ensemble, dropout_key, survey)

    def _feedback(
        self,
        feedback_setup: FeedbackSetup,
        job: Job,
        worker: WorkerContext,
        distill_loss: DistillLoss,
        dtype: torch.dtype,
    ) -> tuple[CotangentFeedback, TrainableEnsemble]:
        rounds = len(
            range(
                feedback_setup.feedback.start,
                total_steps(len(job.train.ids), job.settings),
                feedback_setup.feedback.every,
            )
        )
        specs = [
            TeacherTrainerSpec(
                source.teacher, job.task, feedback_setup.feedback, self.objective.temperature, rounds, actor_resources
            )
            if actor_resources is not None
            else None
            for source, actor_resources in zip(self.sources, feedback_setup.actor_resources, strict=True)
        ]
        ensemble = TrainableEnsemble(self.sources, specs, feedback_setup.feedback.ranks, worker)
        feedback_context = FeedbackContext(
            settings=feedback_setup.feedback,
            teachers=ensemble,
            loss=distill_loss.share,
            quiz_loss=self._quiz_loss(feedback_setup, job, worker),
            task=job.task,
            validation=job.validation,
            worker=worker,
            dtype=dtype,
            autocast=forward.choose_dtype(job.settings.precision, worker.device)[0] in forward.AUTOCAST,
            seed=job.seed,
            lr=job.settings.lr,
            steps_per_epoch=steps_per_epoch(len(job.train.ids), job.settings),
            log=MetricsLog(Path(job.metrics)) if worker.rank == 0 else None,
        )
        feedback: CotangentFeedback = (
            MetaDistil(feedback_context) if feedback_setup.feedback.type == "metadistil" else IKD(feedback_context)
        )
        return feedback, ensemble

    def _quiz_loss(self, feedback_setup: FeedbackSetup, job: Job, worker: WorkerContext) -> QuizLoss:
        signal = feedback_setup.quiz or job.train
        encoder = student_encoder(job, signal)
        rows = feedback_setup.feedback.quiz_batches * (
            feedback_setup.feedback.quiz_batch_size or job.settings.batch_size
        )
        apart_from = None if feedback_setup.quiz is not None else BatchSchedule(job).batch
        return QuizLoss(job.task, ReplacementSampler("quiz", encoder, signal.ids, rows, job.seed, worker, apart_from))

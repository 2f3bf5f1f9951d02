"""Builds a worker's distillation step: targets from the service, the loop or teachers that learn; loss; feedback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from raykd import objective
from raykd.config import FeedbackConfig, ObjectiveConfig, WeightingConfig
from raykd.feedback import IKD, Exam, Lessons, MetaDistil
from raykd.feedback.cotangent_feedback import Teaching
from raykd.models import forward
from raykd.records.log import MetricsLog
from raykd.student import weighting as weigh
from raykd.student.step import Blend, DistilStep, Mine
from raykd.student.weighting import Insight, Survey, student_encoder
from raykd.teachers.serving.client import Ensemble, Source
from raykd.teachers.feedback.trainer import LearnerSpec
from raykd.teachers.feedback.ensemble import LearningEnsemble
from raykd.teachers.local import LocalEnsemble, LocalTeacher
from raykd.teachers.serving.replica import Seat
from raykd.training.batch_schedule import Course
from raykd.training.replacement_sampler import Drawn
from raykd.training.job import Job, Place, Signal
from raykd.training.optim import steps_per_epoch, total_steps


@dataclass(frozen=True)
class Teach:
    """What a run with feedback adds.

    Attributes:
        learners: for each teacher the seat of its ranks, None where it stays as it is.
        quiz: rows of the quiz; None where the exam is taken from the training rows.
    """

    feedback: FeedbackConfig
    learners: tuple[Seat | None, ...]
    quiz: Signal | None


@dataclass(frozen=True)
class Distil:
    """Factory of `DistilStep`; with `in_loop` the teachers are called by the student itself, without any service."""

    sources: tuple[Source, ...]
    objective: ObjectiveConfig
    weighting: WeightingConfig
    in_loop: bool = False
    teach: Teach | None = None
    insight: Insight | None = None

    def build(self, job: Job, place: Place) -> DistilStep:
        """The step of one worker, with its own clients."""
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        blend = Blend(job.task, self.objective.alpha, objective.build(self.objective))
        weighting = weigh.build(self.weighting, self.insight, self.sources, job, place)
        survey = Survey(job, tuple(source.teacher.name for source in self.sources)) if place.rank == 0 else None
        if self.in_loop:
            loaded = [LocalTeacher(source.teacher, place.device) for source in self.sources]
            return DistilStep(blend, weighting, LocalEnsemble(loaded, job.train.split), dtype)
        cast = forward.choose_dtype(job.settings.precision, place.device)[0]
        mine = Mine(place.rank, job.seed, cast)
        if self.teach is None:
            return DistilStep(blend, weighting, Ensemble(self.sources), dtype, mine=mine, survey=survey)
        feedback, ensemble = self._feedback(self.teach, job, place, blend, dtype)
        return DistilStep(blend, weighting, ensemble, dtype, feedback, ensemble, mine, survey)

    def _feedback(
        self, teach: Teach, job: Job, place: Place, blend: Blend, dtype: torch.dtype
    ) -> tuple[Teaching, LearningEnsemble]:
        rounds = len(range(teach.feedback.start, total_steps(len(job.train.ids), job.settings), teach.feedback.every))
        specs = [
            LearnerSpec(source.teacher, job.task, teach.feedback, self.objective.temperature, rounds, seat)
            if seat is not None
            else None
            for source, seat in zip(self.sources, teach.learners, strict=True)
        ]
        ensemble = LearningEnsemble(self.sources, specs, teach.feedback.ranks, place)
        lessons = Lessons(
            settings=teach.feedback,
            classroom=ensemble,
            loss=blend.share,
            exam=self._exam(teach, job, place),
            task=job.task,
            validation=job.validation,
            place=place,
            dtype=dtype,
            autocast=forward.choose_dtype(job.settings.precision, place.device)[0] in forward.AUTOCAST,
            seed=job.seed,
            lr=job.settings.lr,
            steps_per_epoch=steps_per_epoch(len(job.train.ids), job.settings),
            log=MetricsLog(Path(job.metrics)) if place.rank == 0 else None,
        )
        feedback: Teaching = MetaDistil(lessons) if teach.feedback.type == "metadistil" else IKD(lessons)
        return feedback, ensemble

    def _exam(self, teach: Teach, job: Job, place: Place) -> Exam:
        signal = teach.quiz or job.train
        encoder = student_encoder(job, signal)
        rows = teach.feedback.quiz_batches * (teach.feedback.quiz_batch_size or job.settings.batch_size)
        apart_from = None if teach.quiz is not None else Course(job).batch
        return Exam(job.task, Drawn("quiz", encoder, signal.ids, rows, job.seed, place, apart_from))

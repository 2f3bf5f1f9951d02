"""Builds a worker's distillation step: targets from the service, the loop or trainable teachers; loss; feedback."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from raykd import objective, weighting
from raykd.config import CotangentFeedbackConfig, ObjectiveConfig, WeightingConfig, load_implementation
from raykd.feedback import Feedback, FeedbackContext, QuizLoss
from raykd.models import forward
from raykd.records.log import MetricsLog
from raykd.student.features import FeatureMatching, FeatureSource
from raykd.student.step import DistillLoss, DistillStep
from raykd.teachers.feedback.ensemble import TrainableEnsemble
from raykd.teachers.feedback.trainer import TeacherTrainerSpec
from raykd.teachers.local import LocalEnsemble, LocalTeacher
from raykd.teachers.serving.client import Ensemble, TargetSource, TeacherClient
from raykd.teachers.serving.cross_fitted import CrossFitted
from raykd.teachers.serving.replica import ActorResources
from raykd.training.batch_schedule import BatchSchedule
from raykd.training.dropout import DropoutKey
from raykd.training.encoder import student_encoder
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.optim import steps_per_epoch, total_steps
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting import SentenceVectors, Weighting, WeightingInputs
from raykd.weighting.inputs import RowsOf
from raykd.weighting.report import WeightReporter


@dataclass(frozen=True)
class WeightingSources:
    """Where the inputs of a weighting come from; picklable.

    Attributes:
        run: the run's name among those that share a policy.
        reward: the reward split, where there is one.
        sentences: of a policy, where its sentence vectors come from.
        folds: of each teacher the sources of its cross-fitted logits, one a fold; none where it is taken as it is.
        lease_s: a shared policy ends so long after its last use.
    """

    run: str
    reward: Subset | None = None
    sentences: TargetSource | None = None
    folds: tuple[tuple[TargetSource, ...], ...] = ()
    lease_s: float = 60.0


@dataclass(frozen=True)
class FeedbackSetup:
    """What a run with feedback adds.

    Attributes:
        actor_resources: for each teacher what its ranks run on, None where it stays as it is.
        quiz: rows of the quiz; None where the exam is taken from the training rows.
    """

    feedback: CotangentFeedbackConfig
    actor_resources: tuple[ActorResources | None, ...]
    quiz: Subset | None


@dataclass(frozen=True)
class DistillStepFactory:
    """Factory of `DistillStep`; with `in_loop` the student calls the teachers itself, without any service.

    Attributes:
        features: what is matched inside a teacher, where anything is; none under feedback.
        features_in_loop: the student calls their teacher itself.
    """

    sources: tuple[TargetSource, ...]
    objective: ObjectiveConfig
    weighting: WeightingConfig
    in_loop: bool = False
    feedback_setup: FeedbackSetup | None = None
    weighting_inputs: WeightingSources | None = None
    features: FeatureSource | None = None
    features_in_loop: bool = False

    def build(self, job: Job, worker: WorkerContext) -> DistillStep:
        """The step of one worker, with its own clients."""
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        soft = objective.build(self.objective)
        whole = objective.whole_batch(self.objective, soft, worker.rank, worker.world)
        distill_loss = DistillLoss(job.task, self.objective.alpha, soft, whole)
        weights = build_weighting(self.weighting, self.weighting_inputs, self.sources, job, worker)
        names = tuple(source.teacher.name for source in self.sources)
        report = WeightReporter(job, names) if worker.rank == 0 else None
        features = None
        if self.features is not None:
            features = FeatureMatching(self.features, job, worker, self.in_loop or self.features_in_loop)
        if self.in_loop:
            loaded = [LocalTeacher(source.teacher, worker.device) for source in self.sources]
            return DistillStep(
                distill_loss, weights, LocalEnsemble(loaded, job.train.split), dtype, features=features
            )  # fmt: skip
        cast = forward.choose_dtype(job.settings.precision, worker.device)[0]
        dropout_key = DropoutKey(worker.rank, job.seed, cast)
        if self.feedback_setup is None:
            ensemble = Ensemble(self.sources)
            return DistillStep(
                distill_loss, weights, ensemble, dtype, dropout_key=dropout_key, survey=report, features=features
            )  # fmt: skip
        feedback, trainable = self._feedback(self.feedback_setup, job, worker, distill_loss, dtype)
        return DistillStep(distill_loss, weights, trainable, dtype, feedback, trainable, dropout_key, report)

    def _feedback(
        self, setup: FeedbackSetup, job: Job, worker: WorkerContext, distill_loss: DistillLoss, dtype: torch.dtype
    ) -> tuple[Feedback, TrainableEnsemble]:
        settings = setup.feedback
        rounds = len(settings.rounds(total_steps(len(job.train.ids), job.settings)))
        temperature = self.objective.divergence_temperature
        specs = [
            None
            if place is None
            else TeacherTrainerSpec(source.teacher, job.task, settings, temperature, rounds, place)
            for source, place in zip(self.sources, setup.actor_resources, strict=True)
        ]
        ensemble = TrainableEnsemble(self.sources, specs, settings.ranks, worker)
        context = FeedbackContext(
            settings=settings,
            teachers=ensemble,
            loss=distill_loss.share,
            quiz_loss=_quiz_loss(setup, job, worker),
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
        feedback: Feedback = load_implementation(settings)(context)
        return feedback, ensemble


def build_weighting(
    config: WeightingConfig,
    known: WeightingSources | None,
    sources: tuple[TargetSource, ...],
    job: Job,
    worker: WorkerContext,
) -> Weighting:
    """The weighting of one worker; errors as for `weighting.build`."""
    known = known or WeightingSources("")
    with contextlib.ExitStack() as held:

        def targets() -> RowsOf:
            ensemble = Ensemble(sources)
            held.callback(ensemble.close)
            return ensemble.get

        inputs = WeightingInputs(
            task=job.task,
            seed=job.seed,
            teachers=tuple(source.teacher.name for source in sources),
            targets=_opened_late(targets),
            reward=known.reward,
            sentences=None if known.sentences is None else _sentence_vectors(known.sentences),
            cross_fitted=_opened_late(lambda: CrossFitted(sources, known.folds)) if known.folds else None,
            worker=worker,
            job=job,
            run=known.run,
            lease_s=known.lease_s,
        )
        return weighting.build(config, inputs)


def _sentence_vectors(source: TargetSource) -> SentenceVectors:
    return SentenceVectors(source.teacher.classes, _opened_late(lambda: TeacherClient(source).get))


def _opened_late(open_rows: Callable[[], RowsOf]) -> RowsOf:
    """Rows whose clients are opened when a weighting first asks for them: most never do."""
    opened = functools.cache(open_rows)
    return lambda ids: opened()(ids)


def _quiz_loss(setup: FeedbackSetup, job: Job, worker: WorkerContext) -> QuizLoss:
    subset = setup.quiz or job.train.labeled()
    rows = setup.feedback.quiz_rows(job.settings.batch_size)
    apart_from = None if setup.quiz is not None else BatchSchedule(job).batch
    encoder = student_encoder(job, subset)
    return QuizLoss(job.task, ReplacementSampler("quiz", encoder, subset.ids, rows, job.seed, worker, apart_from))

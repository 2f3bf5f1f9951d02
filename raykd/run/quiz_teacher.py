"""The teachers of the baseline `quiz_teacher` within a run: tuned on the quiz, frozen, their soft targets computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raykd import models
from raykd.config import CotangentFeedbackConfig, RunConfig
from raykd.records.run_result import TrainedTeacherResult
from raykd.run.arms import quiz_teacher_targets, student_rows
from raykd.run.context import RunContext
from raykd.run.targets import compute_targets, teacher_session
from raykd.teachers.feedback.quiz_tuning import QuizTuning, tune
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.placement import trainer_resources
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.optim import steps_per_epoch, total_steps


@dataclass(frozen=True)
class TunedTeachers:
    """What the baseline's student learns from.

    Attributes:
        sources: of all K teachers, the tuned ones in the places of those that they are copies of.
        results: of the tuned ones by name.
        rows_computed: soft targets that were computed for it in this session.
    """

    sources: list[TargetSource]
    results: dict[str, TrainedTeacherResult]
    rows_computed: int


def quiz_tuning(config: RunConfig, rows: int) -> QuizTuning:
    """How the teachers of `quiz_teacher` are trained, beside a student of so many training rows."""
    settings, feedback = config.train, config.feedback
    assert isinstance(feedback, CotangentFeedbackConfig)
    return QuizTuning(
        feedback=feedback,
        rounds=feedback.rounds(total_steps(rows, settings)),
        rows=feedback.quiz_rows(settings.batch_size),
        part=settings.batch_size,
        seed=config.seed,
        checkpoint_every=settings.checkpoint_every or settings.eval_every or steps_per_epoch(rows, settings),
        max_failures=settings.max_failures,
    )


def tuned_teachers(context: RunContext, sources: Sequence[TargetSource], folder: Path) -> TunedTeachers:
    """Tunes the teachers that learn by feedback, and computes the soft targets that the baseline reads.

    Args:
        sources: of all K teachers as they are at the start of the run, all their rows stored.
        folder: the baseline's; `teachers/NAME` in it are the tuned ones.

    Raises:
        TeacherError: a teacher cannot answer, or has diverged.
        Interrupted: `context.stop` was set; what is finished is kept.
    """
    config = context.config
    places = trainer_resources(config, context.remote)
    learning = [(source, place) for source, place in zip(sources, places, strict=True) if place is not None]
    tuning = quiz_tuning(config, len(student_rows(config, context.corpus).ids))
    path = folder / "teachers"
    results = tune(
        [source for source, _ in learning], [place for _, place in learning], tuning, path, context.teacher_prep()
    )  # fmt: skip
    teachers = [
        _frozen(source.teacher, path / source.teacher.name) if source.teacher.name in results else source.teacher
        for source in sources
    ]
    with teacher_session(context, teachers, quiz_teacher_targets(config, context.corpus), scored=()) as session:
        compute_targets(context, session, wait=True, phase="soft targets of quiz_teacher")
        computed = sum(served.cost.rows_computed for served in session.served)
        return TunedTeachers(session.sources("train"), results, computed)


def _frozen(teacher: TeacherModel, folder: Path) -> TeacherModel:
    """The teacher with the weights of a folder: other soft targets, under an address of their own."""
    return replace(
        teacher,
        folder=str(folder),
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
    )

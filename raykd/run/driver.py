"""The driver of a distillation: teachers prepared, soft targets computed once, students trained."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from raykd.config import PseudoLabelConfig
from raykd.records.predictions import teacher_arm
from raykd.records.run_result import RunResult, TeacherResult
from raykd.run.answers import Logits, scores_by_split, teacher_logits
from raykd.run.arms import (
    baseline_rows,
    baseline_training,
    baseline_weighting,
    student_rows,
    target_rows,
)
from raykd.run.context import RunContext
from raykd.run.features import feature_session
from raykd.run.quiz_teacher import tuned_teachers
from raykd.run.result import Arm, teacher_result
from raykd.run.targets import choose_overlap, compute_targets, teacher_session
from raykd.run.trackers import RunTrackers
from raykd.run.train import (
    distill_step,
    finish_student,
    initial_student,
    rule_step,
    train_student,
)
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.student.factory import WeightingSources
from raykd.student.features import FeatureSource
from raykd.teachers import finetune
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import TeacherSession
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import StepFactory
from raykd.training.supervised import SupervisedStepFactory

PreparedTeachers = tuple[list[TeacherModel], list[str]]
"""The teachers of a run, and warnings about their labels."""


def distill(context: RunContext, prepared: PreparedTeachers | None = None) -> RunResult:
    """A whole run; resumes where an earlier one in the same folder stopped.

    Args:
        prepared: its teachers, where they are prepared already.

    Raises:
        ConfigError: a tracker's package is missing; known before anything is trained.
        TeacherError, RunError: a teacher cannot answer; workers failed too often.
        Interrupted: `context.stop` was set; a checkpoint is saved.
    """
    with RunTrackers(context.config, context.folder.path, context.run) as trackers:
        result = _distill(context, prepared)
        trackers.finish(result)
    return result


def _distill(context: RunContext, prepared: PreparedTeachers | None) -> RunResult:
    begun = time.time()
    teachers, warnings = prepared or prepare_teachers(context)
    start = initial_student(context)
    weighting_inputs = compute_weighting_inputs(context, teachers)
    overlap = choose_overlap(context)
    ids = target_rows(context.config, context.corpus)
    with contextlib.ExitStack() as held:
        session = held.enter_context(teacher_session(context, teachers, ids, overlap))
        targets_s = compute_targets(context, session, wait=not overlap)
        features = held.enter_context(feature_session(context, teachers, start, ids, wait=not overlap))
        matched = None if features is None else features.source
        step = distill_step(context, session.sources("train"), weighting_inputs, matched)
        arms = {"student": train_student(context, "student", start, step)}
        if overlap:
            session.wait(context.stop)
        teacher_results, teacher_answers = _teachers(context, session)
        sources = session.sources("train")
        for name in context.config.baselines:
            arms[name] = _baseline(context, name, start, sources, weighting_inputs, matched)
        return finish_student(
            context, arms, teacher_results, warnings,
            begun=begun, teacher_answers=teacher_answers, targets_s=targets_s,
            features=None if features is None else features.result(),
        )  # fmt: skip


def _teachers(context: RunContext, session: TeacherSession) -> tuple[list[TeacherResult], dict[str, Logits]]:
    """What the teachers are and came to, and their logits by the names of their arms."""
    results, answers = [], {}
    for served in session.served:
        logits = teacher_logits(served, session)
        scores = scores_by_split(logits, context.corpus, context.task)
        results.append(teacher_result(served, session, scores, context.task))
        answers[teacher_arm(served.teacher.name, context.config.baselines)] = logits
    return results, answers


def prepare_teachers(context: RunContext) -> PreparedTeachers:
    """Every teacher of the configuration, fine-tuned where it asks for that, and warnings about their labels."""
    config, prep = context.config, context.teacher_prep()
    prepared = [
        finetune.prepare(name, teacher, prep)
        for name, teacher in zip(config.teacher_names, config.teachers, strict=True)
    ]
    return [model for model, _ in prepared], [warning for _, warnings in prepared for warning in warnings]


def _baseline(
    context: RunContext,
    name: str,
    start: Path,
    sources: Sequence[TargetSource],
    weighting_inputs: WeightingSources,
    features: FeatureSource | None,
) -> Arm:
    """The same student from the same weights: without a teacher, on the teachers' hard labels, with its teachers in its
    own loop, or distilled from frozen teachers, as they are or trained on the quiz; features where the student has them
    too."""
    config, rule, tuned = context.config, baseline_weighting(context.config, name), None
    folder = context.folder.baseline(name)
    if name == "quiz_teacher":
        tuned = tuned_teachers(context, sources, folder)
        sources = tuned.sources
    step: StepFactory = SupervisedStepFactory()
    if name == "pseudo":
        assert rule is not None
        step = rule_step(context, sources, weighting_inputs, rule, objective=PseudoLabelConfig(alpha=0))
    elif rule is not None:
        step = rule_step(context, sources, weighting_inputs, rule, in_loop=name == "in_loop", features=features)
    rows = baseline_rows(config, context.corpus, name)
    settings = baseline_training(config, len(rows.ids), len(student_rows(config, context.corpus).ids))
    arm = train_student(context, f"baseline {name}", start, step, folder, rows, settings)
    return arm if tuned is None else replace(arm, teachers=tuned.results, rows_computed=tuned.rows_computed)

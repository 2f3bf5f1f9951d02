"""One student, for a run, its baselines and a study's trials: first weights, step, training, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from raykd import models
from raykd.config import CotangentFeedbackConfig, ObjectiveConfig, TrainConfig, WeightingConfig
from raykd.errors import Interrupted
from raykd.files import replacing_folder
from raykd.records.features_result import FeaturesResult
from raykd.records.predictions import FILE
from raykd.records.run_result import RunResult, TeacherResult
from raykd.run.answers import Logits, logits_on_test, save_predictions, scores_by_split
from raykd.run.arms import student_rows
from raykd.run.context import RunContext
from raykd.run.implementations import check_classes
from raykd.run.result import Arm, run_result
from raykd.student.factory import DistillStepFactory, FeedbackSetup, WeightingSources
from raykd.student.features import FeatureSource
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.placement import trainer_resources
from raykd.training.job import Job, Outcome, StepFactory, Subset
from raykd.training.launch import launch
from raykd.training.loop import Report


def initial_student(context: RunContext, folder: Path | None = None) -> Path:
    """The student before its first step, on disk: workers and baselines all start from the same weights.

    Args:
        folder: where it is, or is put; default `start` in the run's folder.
    """
    folder = folder or context.folder.path / "start"
    if not folder.is_dir():
        config, train = context.config, student_rows(context.config, context.corpus)
        model, tokenizer = models.build(
            config.student, context.task, train.texts(), config.seed, config.data.max_length
        )  # fmt: skip
        with replacing_folder(folder) as draft:
            models.save(model, tokenizer, draft)
    return folder


def distill_step(
    context: RunContext,
    sources: Sequence[TargetSource],
    weighting_inputs: WeightingSources,
    features: FeatureSource | None = None,
    features_in_loop: bool = False,
) -> DistillStepFactory:
    """The student's step as configured: objective, weighting and feedback on these soft targets.

    Raises:
        ConfigError: the loss is of no use for as many classes, as in a trial that searches over losses.
    """
    check_classes(context.config.objective, context.task)
    config, setup = context.config, None
    if isinstance(config.feedback, CotangentFeedbackConfig):
        quiz = Subset.of(context.corpus, "quiz") if config.feedback.needs_quiz else None
        setup = FeedbackSetup(config.feedback, tuple(trainer_resources(config, context.remote)), quiz)
    return DistillStepFactory(
        tuple(sources),
        config.objective,
        config.weighting,
        feedback_setup=setup,
        weighting_inputs=weighting_inputs,
        features=features,
        features_in_loop=features_in_loop,
    )


def rule_step(
    context: RunContext,
    sources: Sequence[TargetSource],
    weighting_inputs: WeightingSources,
    weighting: WeightingConfig,
    in_loop: bool = False,
    objective: ObjectiveConfig | None = None,
    features: FeatureSource | None = None,
) -> DistillStepFactory:
    """The same student's step with frozen teachers and another weighting; `in_loop`: it calls them itself."""
    objective = objective or context.config.objective
    return DistillStepFactory(
        tuple(sources), objective, weighting, in_loop=in_loop, weighting_inputs=weighting_inputs, features=features
    )  # fmt: skip


def train_student(
    context: RunContext,
    name: str,
    start: Path,
    step: StepFactory,
    folder: Path | None = None,
    rows: Subset | None = None,
    settings: TrainConfig | None = None,
    report: Report | None = None,
) -> Arm:
    """Trains a student from its last checkpoint, or else from `start`.

    Args:
        name: of the phase in the log.
        folder: holds its checkpoints and log; default the run's.
        rows: that it is trained on; default the student's.
        settings: how it is trained; default `train`.
        report: inside a study's trial, what is called at every evaluation; see `launch`.

    Raises:
        Interrupted: `context.stop` was set; a checkpoint is saved.
        RunError: it diverged, or its workers failed more often than `train.max_failures`.
    """
    config, path = context.config, folder or context.folder.path
    path.mkdir(parents=True, exist_ok=True)
    context.phase(name)
    validation = Subset.of(context.corpus, "validation")
    job = Job(
        folder=str(path),
        metrics=str(path / "metrics.jsonl"),
        model=str(start),
        task=context.task,
        train=rows or student_rows(config, context.corpus),
        validation=validation,
        settings=settings or config.train,
        seed=config.seed,
        max_length=config.data.max_length,
        step=step,
        ahead=config.train.prefetch,
        labeled_share=config.train.labeled_share,
        name=name,
    )
    elsewhere = context.remote and not context.in_task  # a task is where a worker's resources are already
    outcome: Outcome = launch(job, context.stop, elsewhere, report)
    if outcome.interrupted:
        raise Interrupted(name, f"stopped at step {outcome.step} of {outcome.total_steps}", "the same command resumes")
    return Arm(outcome, validation)


def finish_student(
    context: RunContext,
    arms: dict[str, Arm],
    teachers: Sequence[TeacherResult],
    warnings: list[str],
    *,
    begun: float,
    kind: Literal["distill", "trial"] = "distill",
    teacher_answers: Mapping[str, Logits] | None = None,
    targets_s: float | None = None,
    latency_ms: float | None = None,
    features: FeaturesResult | None = None,
) -> RunResult:
    """Keeps the best student in `student/` and every arm's predictions beside it; returns the result of the run or
    trial.

    The test split, where there is one, is scored here for a run; a study scores it for its best trial alone.

    Args:
        arms: `student`, and the baselines by name.
        teacher_answers: the teachers' logits by the names of their arms.
        begun, targets_s, latency_ms, features: see `run_result`.
    """
    corpus, task, best = context.corpus, context.task, context.folder.path / "student"
    with replacing_folder(best) as draft:
        shutil.copytree(arms["student"].outcome.best, draft, dirs_exist_ok=True)
    (best / "logits.npy").unlink(missing_ok=True)
    logits: dict[str, Logits] = {name: {"validation": arm.logits} for name, arm in arms.items()}
    if kind == "distill":
        for name, arm in arms.items():
            logits[name] |= logits_on_test(Path(arm.outcome.best), corpus, context.config.data.max_length)
    save_predictions(context.folder.path / FILE, {**logits, **(teacher_answers or {})}, corpus, task)
    scores = {name: scores_by_split(answers, corpus, task) for name, answers in logits.items()}
    tests = {name: by_split["test"] for name, by_split in scores.items() if "test" in by_split}
    return run_result(
        context.config, corpus, task, teachers, arms, tests, warnings,
        begun=begun, targets_s=targets_s, kind=kind, latency_ms=latency_ms, features=features,
    )  # fmt: skip

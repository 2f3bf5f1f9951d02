"""The driver of a distillation: teachers prepared, soft targets computed once, students trained."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from raykd import models
from raykd.config import FITTED, RULES, WeightingConfig
from raykd.data.corpus import Corpus
from raykd.errors import Interrupted
from raykd.records.result import RunResult
from raykd.run.context import RunContext
from raykd.run.result import Arm, run_result, save_predictions, score_test, teacher_result
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.student.factory import DistillStepFactory, FeedbackSetup
from raykd.student.weighting import WeightingInputs
from raykd.teachers import finetune
from raykd.teachers.serving import parity
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import TargetRequest, TeacherSession, trainer_resources
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Job, Outcome, StepFactory, Subset
from raykd.training.launch import launch
from raykd.training.loop import Report
from raykd.training.supervised import SupervisedStepFactory

log = logging.getLogger(__name__)


def prepare_teachers(context: RunContext) -> tuple[list[TeacherModel], list[str]]:
    """Every teacher of the configuration, fine-tuned where it asks for it, with warnings."""
    config, prep = context.config, context.teacher_prep()
    prepared, warnings = [], []
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        one, said = finetune.prepare(name, teacher, prep)
        prepared.append(one)
        warnings += said
    return prepared, warnings


def distill(context: RunContext) -> RunResult:
    """A whole run; resumes where an earlier one in the same folder stopped.

    Raises:
        Interrupted: `scene.stop` was set; a checkpoint is saved.
    """
    begun = time.time()
    teachers, warnings = prepare_teachers(context)
    start = initial_student(context)
    weighting_inputs = compute_weighting_inputs(context, teachers)
    with _teacher_session(context, teachers) as session:
        overlap = _overlap(context)
        targets_s = soft_targets(context, session, wait=not overlap)
        sources, config = tuple(session.sources("train")), context.config
        step = DistillStepFactory(
            sources,
            config.objective,
            config.weighting,
            feedback_setup=feedback_setup(context),
            weighting_inputs=weighting_inputs,
        )
        student = train(context, "student", start, step)
        if overlap:
            session.wait(context.stop)
        teacher_results = [teacher_result(served, session, context.task) for served in session.served]
        sources = tuple(session.sources("train"))
    arms = {"student": student}
    for name in config.baselines:
        arms[name] = _baseline(context, name, start, sources, weighting_inputs)
    best = context.folder.path / "student"
    keep_best(Path(student.outcome.best), best)
    save_predictions(context.folder.path / "predictions.parquet", best, student.signal, context.task)
    test = score_test(context.corpus, context.task, best, context.config.data.max_length)
    result = run_result(
        context.config, context.corpus, context.task, teacher_results, arms, test, warnings,
        begun=begun, targets_s=targets_s,
    )  # fmt: skip
    (best / "logits.npy").unlink(missing_ok=True)
    return result


def feedback_setup(context: RunContext) -> FeedbackSetup | None:
    """Which teachers learn and where, and from which rows the student is examined; None without feedback."""
    config = context.config
    if config.feedback.type == "none":
        return None
    seats = trainer_resources(config, context.remote)
    quiz = Subset.of(context.corpus, "quiz") if config.feedback.needs_quiz else None
    return FeedbackSetup(config.feedback, tuple(seats), quiz)


def initial_student(context: RunContext, folder: Path | None = None) -> Path:
    """The student before its first step, on disk: workers and baselines all start from the same weights.

    Args:
        folder: where to find it or put it; default `start` in the run's folder.
    """
    folder = folder or context.folder.path / "start"
    if not folder.is_dir():
        config, train = context.config, Subset.of(context.corpus, "train")
        model, tokenizer = models.build(
            config.student, context.task, train.texts(), config.seed, config.data.max_length
        )  # fmt: skip
        draft = folder.with_name(f".draft-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        models.save(model, tokenizer, draft)
        draft.rename(folder)
    return folder


def _teacher_session(context: RunContext, teachers: list[TeacherModel]) -> TeacherSession:
    specs = context.services(teachers, context.config.teachers, _overlap(context))
    train, validation = Subset.of(context.corpus, "train"), Subset.of(context.corpus, "validation")
    wanted = {
        "train": TargetRequest(train.split, _taught_on(context)),
        "validation": TargetRequest(validation.split, validation.ids),
    }
    return TeacherSession(specs, wanted, context.run)


def _taught_on(context: RunContext) -> np.ndarray:
    """Rows of the training split that an arm hears the teachers on: those held out too, where a rule uses them."""
    config = context.config
    rules = any(name in RULES for name in config.baselines)
    wanted = {"quiz": rules, "reward": rules or config.weighting.type in FITTED}
    return all_rows(context.corpus, [purpose for purpose, asked in wanted.items() if asked]).ids


def _overlap(context: RunContext) -> bool:
    """Whether the student trains while its teachers still compute.

    On one machine without GPUs both would share the cores, and neither would be done sooner: the pass comes first then.
    """
    asked, config = context.config.train.overlap, context.config
    apart = context.remote or any(teacher.num_gpus for teacher in config.teachers)
    chosen = apart if asked is None else asked
    reason = "as configured" if asked is not None else "they run elsewhere" if apart else "all share these cores"
    log.info("teachers compute %s the student trains: %s", "while" if chosen else "before", reason)
    return chosen


def soft_targets(context: RunContext, session: TeacherSession, wait: bool) -> float:
    """Starts the missing part of the teachers' pass, probes parity, waits where asked; returns the seconds taken."""
    begun = time.time()
    session.start(context.metrics)
    fresh = [source for source in session.sources("train") if source.service is not None]
    if fresh:
        context.phase("soft targets")
        for source in fresh if context.config.parity_rows else []:
            gap = parity.probe(source, context.config.parity_rows)
            log.info("teacher %s: parity probe differs by %.1e", source.teacher.name, gap)
    if wait:
        session.wait(context.stop)
    return time.time() - begun


def train(
    context: RunContext,
    name: str,
    start: Path,
    step: StepFactory,
    folder: Path | None = None,
    rows: Subset | None = None,
    trial: Report | None = None,
) -> Arm:
    """Trains a student from `start`; see `launch` for `trial`.

    Raises:
        Interrupted: `scene.stop` was set; a checkpoint is saved.
    """
    config, path = context.config, folder or context.folder.path
    context.phase(name)
    validation = Subset.of(context.corpus, "validation")
    job = Job(
        folder=str(path),
        metrics=str(path / "metrics.jsonl"),
        model=str(start),
        task=context.task,
        train=rows or Subset.of(context.corpus, "train"),
        validation=validation,
        settings=config.train,
        seed=config.seed,
        max_length=config.data.max_length,
        step=step,
        ahead=config.train.prefetch,
    )
    outcome: Outcome = launch(job, context.stop, context.remote, trial)
    if outcome.interrupted:
        raise Interrupted(name, f"stopped at step {outcome.step} of {outcome.total_steps}", "the same command goes on")
    return Arm(outcome, validation)


def _baseline(
    context: RunContext, name: str, start: Path, sources: tuple[TargetSource, ...], weighting_inputs: WeightingInputs
) -> Arm:
    """The same student from the same weights: without a teacher, with its teachers in its own loop, or by a rule.

    A baseline has no use for a quiz or a reward: it trains on their rows too (DESIGN section 5). A rule's teachers are
    frozen, and one that is fitted on the reward split leaves that out.
    """
    step: StepFactory
    config, rows = context.config, all_rows(context.corpus, ("quiz", "reward"))
    match name:
        case "alone":
            step = SupervisedStepFactory()
        case "in_loop":
            step = DistillStepFactory(
                sources, config.objective, config.weighting, in_loop=True, weighting_inputs=weighting_inputs
            )
        case _:
            step = DistillStepFactory(
                sources, config.objective, WeightingConfig(type=cast(Any, name)), weighting_inputs=weighting_inputs
            )
            if name in FITTED:
                rows = all_rows(context.corpus, ("quiz",))
    folder = context.folder.baseline(name)
    folder.mkdir(parents=True, exist_ok=True)
    return train(context, f"baseline {name}", start, step, folder, rows)


def all_rows(corpus: Corpus, held_out: Sequence[str]) -> Subset:
    """The rows of train, and of what was held out of it for these purposes."""
    parts = [corpus.ids[purpose] for purpose in ("train", *held_out) if purpose in corpus.ids]
    # The rows of train keep their order where nothing was held out.
    return Subset(corpus.splits["train"], parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)))


def keep_best(best: Path, target: Path) -> None:
    """Copies the best checkpoint to where it stays, whole or not at all."""
    draft = target.with_name(".draft-student")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(best, draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)

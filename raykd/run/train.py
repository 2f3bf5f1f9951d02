"""One student, for a run, its baselines and a study's trials: first weights, step, training, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raykd import models
from raykd.config import WeightingConfig
from raykd.data.corpus import Corpus
from raykd.errors import Interrupted
from raykd.files import replacing_folder
from raykd.run.context import RunContext
from raykd.run.result import Arm, save_predictions
from raykd.student.factory import DistillStepFactory, FeedbackSetup
from raykd.student.weighting import WeightingInputs
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import trainer_resources
from raykd.training.job import Job, Outcome, StepFactory, Subset
from raykd.training.launch import launch
from raykd.training.loop import Report


def all_rows(corpus: Corpus, held_out: Sequence[str]) -> Subset:
    """The rows of train, and of what was held out of it for these purposes (quiz, reward), ids ascending."""
    parts = [corpus.ids[split] for split in ("train", *held_out) if split in corpus.ids]
    # The rows of train keep their order where nothing was held out.
    return Subset(corpus.splits["train"], parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)))


def initial_student(context: RunContext, folder: Path | None = None) -> Path:
    """The student before its first step, on disk: workers and baselines all start from the same weights.

    Args:
        folder: where it is, or is put; default `start` in the run's folder.
    """
    folder = folder or context.folder.path / "start"
    if not folder.is_dir():
        config, train = context.config, Subset.of(context.corpus, "train")
        model, tokenizer = models.build(
            config.student, context.task, train.texts(), config.seed, config.data.max_length
        )  # fmt: skip
        with replacing_folder(folder) as draft:
            models.save(model, tokenizer, draft)
    return folder


def distill_step(
    context: RunContext, sources: Sequence[TargetSource], weighting_inputs: WeightingInputs
) -> DistillStepFactory:
    """The student's step as configured: objective, weighting and feedback on these soft targets."""
    config, setup = context.config, None
    if config.feedback.type != "none":
        quiz = Subset.of(context.corpus, "quiz") if config.feedback.needs_quiz else None
        setup = FeedbackSetup(config.feedback, tuple(trainer_resources(config, context.remote)), quiz)
    return DistillStepFactory(
        tuple(sources),
        config.objective,
        config.weighting,
        feedback_setup=setup,
        weighting_inputs=weighting_inputs,
    )


def rule_step(
    context: RunContext,
    sources: Sequence[TargetSource],
    weighting_inputs: WeightingInputs,
    weighting: WeightingConfig,
    in_loop: bool = False,
) -> DistillStepFactory:
    """The same student's step with frozen teachers and another weighting; `in_loop`: it calls them itself."""
    objective = context.config.objective
    return DistillStepFactory(
        tuple(sources), objective, weighting, in_loop=in_loop, weighting_inputs=weighting_inputs
    )  # fmt: skip


def train_student(
    context: RunContext,
    name: str,
    start: Path,
    step: StepFactory,
    folder: Path | None = None,
    rows: Subset | None = None,
    report: Report | None = None,
) -> Arm:
    """Trains a student from its last checkpoint, or else from `start`.

    Args:
        name: of the phase in the log.
        folder: holds its checkpoints and log; default the run's.
        rows: that it is trained on; default `train`.
        report: inside a study's trial, what is called at every evaluation; see `launch`.

    Raises:
        Interrupted: `context.stop` was set; a checkpoint is saved.
        RunError: its workers failed more often than `train.max_failures`.
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
        train=rows or Subset.of(context.corpus, "train"),
        validation=validation,
        settings=config.train,
        seed=config.seed,
        max_length=config.data.max_length,
        step=step,
        ahead=config.train.prefetch,
    )
    outcome: Outcome = launch(job, context.stop, context.remote, report)
    if outcome.interrupted:
        raise Interrupted(name, f"stopped at step {outcome.step} of {outcome.total_steps}", "the same command resumes")
    return Arm(outcome, validation)


def keep_student(context: RunContext, arm: Arm) -> Path:
    """Copies the best checkpoint to `student/`, whole or not at all, and writes its predictions beside it.

    Returns:
        The folder `student`.
    """
    best = context.folder.path / "student"
    with replacing_folder(best) as draft:
        shutil.copytree(arm.outcome.best, draft, dirs_exist_ok=True)
    save_predictions(context.folder.path / "predictions.parquet", best, arm.signal, context.task)
    (best / "logits.npy").unlink(missing_ok=True)
    return best

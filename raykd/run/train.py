"""One student, for a run, its baselines and a study's trials: first weights, step, training, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from raykd import models
from raykd.config import CotangentFeedbackConfig, RunConfig, WeightingConfig
from raykd.data.corpus import Corpus
from raykd.errors import Interrupted
from raykd.files import replacing_folder
from raykd.records.run_result import RunResult, TeacherResult
from raykd.run.context import RunContext
from raykd.run.result import Arm, run_result, save_predictions, score_test
from raykd.student.factory import DistillStepFactory, FeedbackSetup, WeightingSources
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


def baseline_splits(config: RunConfig, name: str) -> list[str]:
    """The held-out splits that a baseline trains on too: it has no use for a quiz or a reward (docs/design.md,
    "Baselines"), but a rule that is fitted on the reward split leaves that out."""
    rule = config.baseline_weightings.get(name)
    return ["quiz"] if rule is not None and rule.fitted else ["quiz", "reward"]


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
    context: RunContext, sources: Sequence[TargetSource], weighting_inputs: WeightingSources
) -> DistillStepFactory:
    """The student's step as configured: objective, weighting and feedback on these soft targets."""
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
    )


def rule_step(
    context: RunContext,
    sources: Sequence[TargetSource],
    weighting_inputs: WeightingSources,
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
        train=rows or Subset.of(context.corpus, "train"),
        validation=validation,
        settings=config.train,
        seed=config.seed,
        max_length=config.data.max_length,
        step=step,
        ahead=config.train.prefetch,
        name=name,
    )
    outcome: Outcome = launch(job, context.stop, context.remote, report)
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
    targets_s: float | None = None,
    latency_ms: float | None = None,
) -> RunResult:
    """Keeps the best student in `student/` and its predictions beside it; returns the result of the run or trial.

    The test split, where there is one, is scored here for a run; a study scores it for its best trial alone.

    Args:
        arms: `student`, and the baselines by name.
        begun, targets_s, latency_ms: see `run_result`.
    """
    student, best = arms["student"], context.folder.path / "student"
    with replacing_folder(best) as draft:
        shutil.copytree(student.outcome.best, draft, dirs_exist_ok=True)
    save_predictions(context.folder.path / "predictions.parquet", best, student.signal, context.task)
    config, scored = context.config, kind == "distill"
    test = score_test(context.corpus, context.task, best, config.data.max_length) if scored else None
    result = run_result(
        config, context.corpus, context.task, teachers, arms, test, warnings,
        begun=begun, targets_s=targets_s, kind=kind, latency_ms=latency_ms,
    )  # fmt: skip
    (best / "logits.npy").unlink(missing_ok=True)
    return result

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
from raykd.student.factory import Distil, Teach
from raykd.run.weighting_inputs import gather
from raykd.run.result import Arm, assemble, save_predictions, score_test, teacher_entry
from raykd.run.context import Scene
from raykd.student.weighting import Insight
from raykd.teachers import finetune
from raykd.teachers.serving import parity
from raykd.teachers.serving.client import Source
from raykd.teachers.teacher_model import Prepared
from raykd.teachers.serving.session import Serving, Wanted, learner_seats
from raykd.training.job import Job, Outcome, Signal, StepFactory
from raykd.training.launch import launch
from raykd.training.loop import Report
from raykd.training.supervised import Supervised

log = logging.getLogger(__name__)


def prepare_teachers(scene: Scene) -> tuple[list[Prepared], list[str]]:
    """Every teacher of the configuration, fine-tuned where it asks for it, with warnings."""
    config, shop = scene.config, scene.shop()
    prepared, warnings = [], []
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        one, said = finetune.prepare(name, teacher, shop)
        prepared.append(one)
        warnings += said
    return prepared, warnings


def distill(scene: Scene) -> dict[str, Any]:
    """A whole run; goes on where an earlier one in the same folder stopped.

    Returns:
        The content of result.json.

    Raises:
        Interrupted: `scene.stop` was set; a checkpoint is saved.
    """
    begun = time.time()
    teachers, warnings = prepare_teachers(scene)
    start = initial_student(scene)
    insight = gather(scene, teachers)
    with _serving(scene, teachers) as serving:
        overlap = _overlap(scene)
        targets_s = soft_targets(scene, serving, wait=not overlap)
        sources, config = tuple(serving.sources("train")), scene.config
        step = Distil(sources, config.objective, config.weighting, teach=teach(scene), insight=insight)
        student = train(scene, "student", start, step)
        if overlap:
            serving.wait(scene.stop)
        entries = [teacher_entry(served, serving, scene.task) for served in serving.served]
        sources = tuple(serving.sources("train"))
    arms = {"student": student}
    for name in config.baselines:
        arms[name] = _baseline(scene, name, start, sources, insight)
    best = scene.folder.path / "student"
    keep_best(Path(student.outcome.best), best)
    save_predictions(scene.folder.path / "predictions.parquet", best, student.signal, scene.task)
    test = score_test(scene.corpus, scene.task, best, scene.config.data.max_length)
    result = assemble(scene.config, scene.corpus, scene.task, entries, arms, test, warnings)
    result["efficiency"]["targets_s"] = targets_s
    result |= student.outcome.told
    result["seconds"] = time.time() - begun
    (best / "logits.npy").unlink(missing_ok=True)
    return result


def teach(scene: Scene) -> Teach | None:
    """Which teachers learn and where, and from which rows the student is examined; None without feedback."""
    config = scene.config
    if config.feedback.type == "none":
        return None
    seats = learner_seats(config, scene.remote)
    quiz = Signal.of(scene.corpus, "quiz") if config.feedback.needs_quiz else None
    return Teach(config.feedback, tuple(seats), quiz)


def initial_student(scene: Scene, folder: Path | None = None) -> Path:
    """The student before its first step, on disk: workers and baselines all start from the same weights.

    Args:
        folder: where to find it or put it; default `start` in the run's folder.
    """
    folder = folder or scene.folder.path / "start"
    if not folder.is_dir():
        config, train = scene.config, Signal.of(scene.corpus, "train")
        model, tokenizer = models.build(
            config.student, scene.task, train.texts(), config.seed, config.data.max_length
        )  # fmt: skip
        draft = folder.with_name(f".draft-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        models.save(model, tokenizer, draft)
        draft.rename(folder)
    return folder


def _serving(scene: Scene, teachers: list[Prepared]) -> Serving:
    specs = scene.services(teachers, scene.config.teachers, _overlap(scene))
    train, validation = Signal.of(scene.corpus, "train"), Signal.of(scene.corpus, "validation")
    wanted = {
        "train": Wanted(train.split, _taught_on(scene)),
        "validation": Wanted(validation.split, validation.ids),
    }
    return Serving(specs, wanted, scene.run)


def _taught_on(scene: Scene) -> np.ndarray:
    """Rows of the training split that an arm hears the teachers on: those held out too, where a rule uses them."""
    config = scene.config
    rules = any(name in RULES for name in config.baselines)
    wanted = {"quiz": rules, "reward": rules or config.weighting.type in FITTED}
    return all_rows(scene.corpus, [purpose for purpose, asked in wanted.items() if asked]).ids


def _overlap(scene: Scene) -> bool:
    """Whether the student trains while its teachers still compute.

    On one machine without GPUs both would share the cores, and neither would be done sooner: the pass comes first then.
    """
    asked, config = scene.config.train.overlap, scene.config
    apart = scene.remote or any(teacher.num_gpus for teacher in config.teachers)
    chosen = apart if asked is None else asked
    reason = "as configured" if asked is not None else "they run elsewhere" if apart else "all share these cores"
    log.info("teachers compute %s the student trains: %s", "while" if chosen else "before", reason)
    return chosen


def soft_targets(scene: Scene, serving: Serving, wait: bool) -> float:
    """Starts the missing part of the teachers' pass, probes parity, waits where asked; returns the seconds taken."""
    begun = time.time()
    serving.start(scene.metrics)
    fresh = [source for source in serving.sources("train") if source.service is not None]
    if fresh:
        scene.phase("soft targets")
        for source in fresh if scene.config.parity_rows else []:
            gap = parity.probe(source, scene.config.parity_rows)
            log.info("teacher %s: parity probe differs by %.1e", source.teacher.name, gap)
    if wait:
        serving.wait(scene.stop)
    return time.time() - begun


def train(
    scene: Scene,
    name: str,
    start: Path,
    step: StepFactory,
    folder: Path | None = None,
    rows: Signal | None = None,
    trial: Report | None = None,
) -> Arm:
    """Trains a student from `start`; see `launch` for `trial`.

    Raises:
        Interrupted: `scene.stop` was set; a checkpoint is saved.
    """
    config, path = scene.config, folder or scene.folder.path
    scene.phase(name)
    validation = Signal.of(scene.corpus, "validation")
    job = Job(
        folder=str(path),
        metrics=str(path / "metrics.jsonl"),
        model=str(start),
        task=scene.task,
        train=rows or Signal.of(scene.corpus, "train"),
        validation=validation,
        settings=config.train,
        seed=config.seed,
        max_length=config.data.max_length,
        step=step,
        ahead=config.train.prefetch,
    )
    outcome: Outcome = launch(job, scene.stop, scene.remote, trial)
    if outcome.interrupted:
        raise Interrupted(name, f"stopped at step {outcome.step} of {outcome.total_steps}", "the same command goes on")
    return Arm(outcome, validation)


def _baseline(scene: Scene, name: str, start: Path, sources: tuple[Source, ...], insight: Insight) -> Arm:
    """The same student from the same weights: without a teacher, with its teachers in its own loop, or by a rule.

    A baseline has no use for a quiz or a reward: it trains on their rows too (DESIGN section 5). A rule's teachers are
    frozen, and one that is fitted on the reward split leaves that out.
    """
    step: StepFactory
    config, rows = scene.config, all_rows(scene.corpus, ("quiz", "reward"))
    match name:
        case "alone":
            step = Supervised()
        case "in_loop":
            step = Distil(sources, config.objective, config.weighting, in_loop=True, insight=insight)
        case _:
            step = Distil(sources, config.objective, WeightingConfig(type=cast(Any, name)), insight=insight)
            if name in FITTED:
                rows = all_rows(scene.corpus, ("quiz",))
    folder = scene.folder.baseline(name)
    folder.mkdir(parents=True, exist_ok=True)
    return train(scene, f"baseline {name}", start, step, folder, rows)


def all_rows(corpus: Corpus, held_out: Sequence[str]) -> Signal:
    """The rows of train, and of what was held out of it for these purposes."""
    parts = [corpus.ids[purpose] for purpose in ("train", *held_out) if purpose in corpus.ids]
    # The rows of train keep their order where nothing was held out.
    return Signal(corpus.splits["train"], parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)))


def keep_best(best: Path, target: Path) -> None:
    """Copies the best checkpoint to where it stays, whole or not at all."""
    draft = target.with_name(".draft-student")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(best, draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)

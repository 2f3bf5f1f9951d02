"""Prepares teachers: as they are, or fine-tuned once and cached under a fingerprint of what decides their weights."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from raykd import models
from raykd.config import (
    EndpointTeacherConfig,
    GivenTeacherConfig,
    ModelTeacherConfig,
    TeacherConfig,
    TrainedTeacherConfig,
    load_implementation,
)
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.errors import Interrupted
from raykd.files import replacing_folder, write_json
from raykd.models import forward
from raykd.models.checkpoint import read_config
from raykd.records.events import PhaseEvent
from raykd.records.log import MetricsLog
from raykd.teachers.endpoints import prepare_endpoint
from raykd.teachers.recipe import Recipe
from raykd.teachers.rows import teacher_rows
from raykd.teachers.served import check_served
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Job
from raykd.training.launch import launch

log = logging.getLogger(__name__)
NO_WEIGHTS = {
    "log_every",
    "checkpoint_every",
    "max_failures",
    "min_workers",
    "worker_cpus",
    "worker_resources",
    "threads",
}
"""Settings of fine-tuning that do not change what is learnt."""


@dataclass(frozen=True)
class TeacherPrepContext:
    """The data, cache, folder and log of a run, as preparing its teachers needs them."""

    corpus: Corpus
    task: Task
    cache: Path
    folder: Path
    max_length: int
    remote: bool
    stop: threading.Event
    metrics: MetricsLog


def prepare(name: str, config: TeacherConfig, prep: TeacherPrepContext) -> tuple[TeacherModel, list[str]]:
    """The teacher, fine-tuned first where the configuration asks for it, and warnings about its labels.

    Raises:
        ModelError: the checkpoint cannot be used for this task.
        TeacherError: an endpoint does not answer, or serves another model than is asked for.
        Interrupted: stopped in mid-training; the same command resumes.
    """
    if isinstance(config, EndpointTeacherConfig):
        return prepare_endpoint(name, config, prep.corpus, prep.task.labels)
    assert isinstance(config, ModelTeacherConfig)
    max_length = config.max_length or prep.max_length
    if isinstance(config, TrainedTeacherConfig):
        recipe = recipe_of(name, config, prep.task, prep.corpus, max_length)
        folder = recipe.served(_trained(recipe, prep))
        columns, warnings = list(range(prep.task.classes)), list[str]()
    else:
        folder = models.resolve(str(config.model.from_))
        columns, warnings = _columns(name, config, folder, prep)
    if config.precision == "auto" and config.num_gpus:
        dtype = "bfloat16"  # decided here and not on the replica's node, since it is part of the store's address
    else:
        dtype = str(forward.choose_dtype(config.precision, torch.device("cpu"))[0]).removeprefix("torch.")
    prepared = TeacherModel(
        name=name,
        folder=str(folder),
        columns=tuple(columns),
        labels=prep.task.labels,
        max_length=max_length,
        dtype=dtype,
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
        parameters=models.parameter_count(folder),
    )
    if isinstance(config, GivenTeacherConfig) and config.ensemble is not None:
        check_served(prepared, config.ensemble, prep.cache)
    return prepared, warnings


def _columns(
    name: str, config: ModelTeacherConfig, folder: Path, prep: TeacherPrepContext
) -> tuple[list[int], list[str]]:
    """The permutation of its logit columns, and what a person should know about it."""
    theirs = models.model_labels(read_config(folder, name))
    labels = config.labels if isinstance(config, GivenTeacherConfig) else None
    where = f"teacher {name}"
    columns, warning = models.column_order(theirs, prep.task.labels, prep.corpus.named, labels, where)
    return columns, [warning] if warning else []


def recipe_of(name: str, config: TrainedTeacherConfig, task: Task, corpus: Corpus, max_length: int) -> Recipe:
    """How a teacher is trained, checked against its rows.

    Raises:
        ConfigError: its rows or the task do not fit.
        DataError: it has no rows.
    """
    train = teacher_rows("train", config, corpus)
    recipe: Recipe = load_implementation(config)(name, config, task, corpus, train, max_length)
    recipe.check()
    return recipe


def _trained(recipe: Recipe, prep: TeacherPrepContext) -> Path:
    name, config, fingerprint = recipe.name, recipe.config, _fingerprint(recipe)
    folder = prep.cache / "teachers" / fingerprint
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two runs started together: the second waits and finds the teacher of the first.
    with FileLock(str(folder) + ".lock"):
        if (folder / "teacher.json").exists():
            log.info("teacher %s: %s is in the cache", name, fingerprint[:12])
            return folder
        prep.metrics.write(PhaseEvent(phase=f"{config.verb} teacher {name}"))
        work = folder.with_suffix(".work")
        work.mkdir(parents=True, exist_ok=True)
        start, train = work / "start", recipe.train
        if not start.is_dir():
            seed = config.finetune.seed
            model, tokenizer = models.build(config.model, prep.task, train.texts(), seed, recipe.max_length)
            with replacing_folder(start) as draft:
                models.save(model, tokenizer, draft)
        job = Job(
            folder=str(work),
            metrics=str(prep.folder / "teachers" / f"{name}.jsonl"),
            model=str(start),
            task=prep.task,
            train=train,
            validation=teacher_rows("validation", config, prep.corpus),
            settings=config.finetune,
            seed=config.finetune.seed,
            max_length=recipe.max_length,
            step=recipe.step(start, work),
            name=f"teacher {name}",
        )
        outcome = launch(job, prep.stop, prep.remote)
        if outcome.interrupted:
            raise Interrupted(f"teacher {name}", "stopped in mid-training", "the same command resumes")
        best = Path(outcome.best)
        (best / "logits.npy").unlink(missing_ok=True)  # a run that was killed after this line does it again
        recipe.finish(best, start)
        summary = {"name": name, "scores": outcome.best_scores, "step": outcome.best_step, "made_of": _made_of(recipe)}
        write_json(best / "teacher.json", summary)
        best.rename(folder)
        shutil.rmtree(work)
    return folder


def _made_of(recipe: Recipe) -> dict[str, Any]:
    parts = recipe.config.model_dump(mode="json", by_alias=True, include={"model", "finetune"})
    parts["finetune"] = {key: value for key, value in parts["finetune"].items() if key not in NO_WEIGHTS}
    return parts | recipe.made_of()


def _fingerprint(recipe: Recipe) -> str:
    """Of everything that decides the trained weights."""
    source, task = recipe.config.model.from_, recipe.task
    parts = {
        **_made_of(recipe),
        "weights": models.weights_fingerprint(models.resolve(source)) if source else None,
        "tokenizer": models.tokenizer_fingerprint(models.resolve(source)) if source else None,
        "train": recipe.train.digest(),
        "validation": teacher_rows("validation", recipe.config, recipe.corpus).digest(),
        "task": [task.type, task.best_by, list(task.labels)],
        "max_length": recipe.max_length,
    }
    if source:
        parts["model"] = {**parts["model"], "from": None}  # the weights say it, wherever they lie
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

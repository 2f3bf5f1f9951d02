"""Preparing teachers: as given, or fine-tuned once and kept in the cache under a fingerprint of all that made them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from raykd import models
from raykd.config import TeacherConfig
from raykd.data.holdout import in_domains
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.errors import Interrupted
from raykd.models import forward
from raykd.models.checkpoint import read_config
from raykd.records.log import MetricsLog
from raykd.teachers.teacher_model import Prepared
from raykd.training.job import Job, Signal
from raykd.training.launch import launch
from raykd.training.supervised import Supervised

log = logging.getLogger(__name__)
RESULT_KEYS_IGNORED = {"log_every", "checkpoint_every", "max_failures", "worker_cpus", "worker_resources", "threads"}
"""Settings of fine-tuning that do not change what is learnt."""


@dataclass(frozen=True)
class Workshop:
    """What preparing teachers needs to know of the run."""

    corpus: Corpus
    task: Task
    cache: Path
    folder: Path
    max_length: int
    remote: bool
    stop: threading.Event
    metrics: MetricsLog


def prepare(name: str, config: TeacherConfig, shop: Workshop) -> tuple[Prepared, list[str]]:
    """The teacher, fine-tuned first where the configuration asks for it, and warnings about its labels.

    Raises:
        ModelError: the checkpoint cannot be used for this task.
        Interrupted: stopped in mid-training; the same command goes on.
    """
    max_length = config.max_length or shop.max_length
    if config.prepare == "finetune":
        folder = _finetuned(name, config, max_length, shop)
        columns, warnings = list(range(shop.task.classes)), list[str]()
    else:
        folder = models.resolve(str(config.model.from_))
        columns, warnings = _columns(name, config, folder, shop)
    if config.precision == "auto" and config.num_gpus:
        dtype = "bfloat16"  # decided here and not on the replica's node, since it is part of the store's address
    else:
        dtype = str(forward.choose_dtype(config.precision, torch.device("cpu"))[0]).removeprefix("torch.")
    prepared = Prepared(
        name=name,
        folder=str(folder),
        columns=tuple(columns),
        labels=shop.task.labels,
        max_length=max_length,
        dtype=dtype,
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
        parameters=models.parameter_count(folder),
    )
    return prepared, warnings


def _columns(name: str, config: TeacherConfig, folder: Path, shop: Workshop) -> tuple[list[int], list[str]]:
    """The permutation of its logit columns, and what a person should know about it."""
    theirs = models.model_labels(read_config(folder, name))
    where = f"teacher {name}"
    columns, warning = models.column_order(theirs, shop.task.labels, shop.corpus.named, config.labels, where)
    return columns, [warning] if warning else []


def _finetuned(name: str, config: TeacherConfig, max_length: int, shop: Workshop) -> Path:
    fingerprint = _fingerprint(config, max_length, shop)
    folder = shop.cache / "teachers" / fingerprint
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two runs started together: the second waits and finds the teacher of the first.
    with FileLock(str(folder) + ".lock"):
        if (folder / "teacher.json").exists():
            log.info("teacher %s: %s is in the cache", name, fingerprint[:12])
            return folder
        shop.metrics.write("phase", phase=f"fine-tune teacher {name}")
        work = folder.with_suffix(".work")
        work.mkdir(parents=True, exist_ok=True)
        start, train = work / "start", own_rows("train", config, shop.corpus)
        if not start.is_dir():
            seed = config.finetune.seed
            model, tokenizer = models.build(config.model, shop.task, train.texts(), seed, max_length)
            models.save(model, tokenizer, work / "draft")
            (work / "draft").rename(start)
        job = Job(
            folder=str(work),
            metrics=str(shop.folder / "teachers" / f"{name}.jsonl"),
            model=str(start),
            task=shop.task,
            train=train,
            validation=own_rows("validation", config, shop.corpus),
            settings=config.finetune,
            seed=config.finetune.seed,
            max_length=max_length,
            step=Supervised(),
        )
        outcome = launch(job, shop.stop, shop.remote)
        if outcome.interrupted:
            raise Interrupted(f"teacher {name}", "stopped in mid-training", "the same command goes on")
        best = Path(outcome.best)
        (best / "logits.npy").unlink()
        said = {"name": name, "scores": outcome.best_scores, "step": outcome.best_step, "made_of": _made_of(config)}
        (best / "teacher.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
        best.rename(folder)
        shutil.rmtree(work)
    return folder


def own_rows(purpose: str, config: TeacherConfig, corpus: Corpus) -> Signal:
    """The rows that a teacher is fine-tuned or chosen on: a specialist's are those of its domains.

    Raises:
        DataError: there are no such domains.
    """
    signal = Signal.of(corpus, purpose)
    kept = in_domains(signal.rows(), config.domains, f"split {corpus.source[purpose]}", "domains of a teacher")
    return Signal(signal.split, np.intersect1d(signal.ids, kept))


def _made_of(config: TeacherConfig) -> dict[str, Any]:
    made = config.model_dump(mode="json", by_alias=True, include={"model", "finetune"})
    made["finetune"] = {key: value for key, value in made["finetune"].items() if key not in RESULT_KEYS_IGNORED}
    return made


def _fingerprint(config: TeacherConfig, max_length: int, shop: Workshop) -> str:
    """Of everything that decides the fine-tuned weights."""
    source = config.model.from_
    parts = {
        **_made_of(config),
        "weights": models.weights_fingerprint(models.resolve(source)) if source else None,
        "tokenizer": models.tokenizer_fingerprint(models.resolve(source)) if source else None,
        "corpus": Signal.of(shop.corpus, "train").split.fingerprint,
        "train": hashlib.sha256(own_rows("train", config, shop.corpus).ids.tobytes()).hexdigest(),
        "validation": hashlib.sha256(own_rows("validation", config, shop.corpus).ids.tobytes()).hexdigest(),
        "task": [shop.task.type, shop.task.best_by, list(shop.task.labels)],
        "max_length": max_length,
    }
    if source:
        parts["model"] = {**parts["model"], "from": None}  # the weights say it, wherever they lie
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

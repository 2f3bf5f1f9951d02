"""What a run would do: steps, actors, resources, memory; and whether its data and checkpoints can be used."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from raykd import models
from raykd.config import (
    CotangentFeedbackConfig,
    FinetunedTeacherConfig,
    GivenTeacherConfig,
    ModelConfig,
    OptimConfig,
    PBTConfig,
    PolicyConfig,
    RunConfig,
    TeacherConfig,
)
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.models.checkpoint import read_config
from raykd.models.truncate import which_layers
from raykd.teachers import finetune
from raykd.training.optim import steps_per_epoch, total_steps
from raykd.weighting.policy.model import StateSpec, load_for
from raykd.weighting.policy.weighting import UpdateSchedule

ADAM_BYTES = 16
"""Bytes a trainable parameter takes: weight, gradient and AdamW's two moments in float32."""


def make_plan(config: RunConfig, corpus: Corpus, task: Task) -> dict[str, Any]:
    """Reads the headers of the checkpoints, trains and serves nothing.

    Raises:
        ModelError: what the run would stop at.
    """
    rows = {purpose: len(ids) for purpose, ids in corpus.ids.items() if len(ids)}
    # A baseline has no use for a quiz or a reward, and trains on those rows too.
    corpus_rows = sum(rows.get(purpose, 0) for purpose in ("train", "quiz", "reward"))
    warnings = list(corpus.warnings)
    teachers = []
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        learnt_from = len(finetune.teacher_rows("train", teacher, corpus).ids)
        entry, said = _teacher(name, teacher, config, task.labels, corpus.named, (rows["train"], learnt_from))
        teachers.append(entry)
        warnings += said
    return {
        "name": config.name,
        "task": {"type": task.type, "metric": task.best_by, "labels": list(task.labels), "named": corpus.named},
        "rows": rows,
        "overlap": corpus.overlap,
        "teachers": teachers,
        "student": _trained("student", config.student, config.train, rows["train"]),
        "weighting": _policy(config, task, rows["train"]),
        "feedback": _feedback(config, teachers, rows["train"]),
        "baselines": {name: _trained(name, config.student, config.train, corpus_rows) for name in config.baselines},
        "study": _study(config),
        "warnings": warnings,
    }


def _policy(config: RunConfig, task: Task, rows: int) -> dict[str, Any] | None:
    """The policy that picks the teachers: what it sees, and how often it learns."""
    given = config.weighting
    if not isinstance(given, PolicyConfig):
        return None
    seen = config.teachers[config.teacher_names.index(given.sentence_teacher or config.teacher_names[0])].model
    encoder = given.sentence_encoder or seen.from_
    hidden: int = models.describe(models.resolve(encoder))["hidden_size"] if encoder else seen.hidden_size or 0
    layout = StateSpec(tuple(config.teacher_names), hidden, task.classes, given.student_state)
    if given.start_from is not None:
        load_for(layout, Path(given.start_from).expanduser())
    calendar = UpdateSchedule(given.student_warmup, given.reward.every, given.update_every)
    copies = sum(isinstance(teacher, FinetunedTeacherConfig) for teacher in config.teachers) * given.cross_fit
    return {
        "type": "policy",
        "parameters": len(layout.teachers) * (layout.features + 1),
        "updates": calendar.count(total_steps(rows, config.train) - 1) // given.update_every,
        "sentences": given.sentence_encoder or given.sentence_teacher or config.teacher_names[0],
        "copies": copies,
    }


def _study(config: RunConfig) -> dict[str, Any] | None:
    """What `raykd study` would search; the rest of the plan is that of one run with the study's own settings."""
    given = config.study
    if given is None:
        return None
    listed = [given.space[key].values or [] for key in given.space]
    trials = math.prod(map(len, listed)) if given.searcher.type == "grid" else given.trials
    repeated = 0 if isinstance(given.scheduler, PBTConfig) else given.repeat.top_k * (given.repeat.seeds - 1)
    return {
        "trials": trials,
        "repetitions": repeated,
        "keys": list(given.space),
        "searcher": given.searcher.type,
        "scheduler": given.scheduler.type,
    }


def _feedback(config: RunConfig, teachers: list[dict[str, Any]], rows: int) -> dict[str, Any] | None:
    """The teachers that learn: how often, on how many processes, and in how much memory."""
    given = config.feedback
    if not isinstance(given, CotangentFeedbackConfig):
        return None
    trainable = [entry for entry, learns in zip(teachers, config.trainable_teachers, strict=True) if learns]
    parameters = sum(entry["parameters"] for entry in trainable)
    return {
        "type": given.type,
        "teachers": [entry["name"] for entry in trainable],
        "parameters": parameters,
        "ranks": given.ranks,
        "rounds": len(range(given.start, total_steps(rows, config.train), given.every)),
        "memory_mb": round(parameters * (ADAM_BYTES + 4) * given.ranks / 2**20),
    }


def _teacher(
    name: str, teacher: TeacherConfig, config: RunConfig, labels: tuple[str, ...], named: bool, rows: tuple[int, int]
) -> tuple[dict[str, Any], list[str]]:
    answered, learnt_from = rows
    entry: dict[str, Any] = {
        "name": name,
        "prepare": teacher.prepare,
        "replicas": teacher.replicas,
        "resources": {"CPU": teacher.num_cpus, "GPU": teacher.num_gpus, **teacher.resources},
        "rows": answered,
    }
    warnings: list[str] = []
    if isinstance(teacher, FinetunedTeacherConfig):
        entry |= _trained(name, teacher.model, teacher.finetune, learnt_from)
    else:
        folder = models.resolve(str(teacher.model.from_))
        theirs = models.model_labels(read_config(folder, name))
        own_labels = teacher.labels if isinstance(teacher, GivenTeacherConfig) else None
        _, warning = models.column_order(theirs, labels, named, own_labels, f"teacher {name}")
        warnings += [warning] if warning else []
        entry |= models.describe(folder)
        entry["memory_mb"] = round(entry["parameters"] * 4 * teacher.replicas / 2**20)
    return entry, warnings


def _trained(name: str, model: ModelConfig, settings: OptimConfig, rows: int) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "name": name,
        "steps_per_epoch": steps_per_epoch(rows, settings),
        "steps": total_steps(rows, settings),
        "workers": settings.workers,
        "worker_resources": {"CPU": settings.worker_cpus, "GPU": settings.worker_gpus, **settings.worker_resources},
    }
    if model.from_ is not None:
        folder = models.resolve(model.from_)
        depth = models.describe(folder)["layers"]
        kept = None if model.layers is None else which_layers(model.layers, depth, model.from_)
        parameters = models.parameter_count(folder, kept)
    else:
        parameters = _fresh_parameters(model)
    return plan | {"parameters": parameters, "memory_mb": round(parameters * ADAM_BYTES * settings.workers / 2**20)}


def _fresh_parameters(model: ModelConfig) -> int:
    """Of a BERT encoder: embeddings, and per layer attention (4 H²) and feed-forward (2 H F); small terms left out."""
    assert isinstance(model.layers, int)
    assert model.hidden_size is not None
    wide = model.intermediate_size or 4 * model.hidden_size
    layer = 4 * model.hidden_size**2 + 2 * model.hidden_size * wide
    return model.vocab_size * model.hidden_size + model.layers * layer

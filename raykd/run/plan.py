"""What a run would do: steps, actors, resources, memory; and whether its data and checkpoints can be used."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from raykd import models
from raykd.config import (
    CotangentFeedbackConfig,
    EndpointTeacherConfig,
    GivenTeacherConfig,
    ModelConfig,
    ModelTeacherConfig,
    OptimConfig,
    OracleConfig,
    PBTConfig,
    PolicyConfig,
    RunConfig,
    TeacherConfig,
    TrainedTeacherConfig,
)
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.errors import ConfigError
from raykd.models import CheckpointInfo
from raykd.models.tokenizers import KINDS
from raykd.run.arms import baseline_rows, baseline_training, quiz_teacher_targets, student_rows, target_rows
from raykd.run.feature_plan import feature_plan
from raykd.run.implementations import check_classes, check_methods
from raykd.run.quiz_teacher import quiz_tuning
from raykd.run.result import group_result
from raykd.run.weighting_inputs import folds_of
from raykd.teachers import finetune
from raykd.teachers.endpoints import prepare_endpoint
from raykd.teachers.rows import teacher_rows
from raykd.training.optim import steps_per_epoch, total_steps
from raykd.weighting.policy.model import Policy, StateSpec, load_for
from raykd.weighting.policy.schedule import UpdateSchedule
from raykd.weighting.rules import planned_teachers

ADAM_BYTES = 16
"""Bytes a trainable parameter takes: weight, gradient and AdamW's two moments in float32."""
LEARNING_BYTES = ADAM_BYTES + 4
"""Those of a teacher that learns: it keeps the weights that it began with."""
MOST_STEPS = 10**9
"""More optimizer steps than this are a mistake in `epochs`."""
Inspect = Callable[[str], CheckpointInfo]
"""Looks at each checkpoint once."""


def make_plan(config: RunConfig, corpus: Corpus, task: Task) -> dict[str, Any]:
    """Looks at the checkpoints without loading their weights, and asks endpoints what they serve; trains nothing.

    Raises:
        ConfigError, DataError, ModelError, TeacherError: what the run would stop at.
    """
    for choice in (config.objective, config.weighting, config.feedback, *config.baseline_weightings.values()):
        check_methods(choice)
    if isinstance(config.weighting, OracleConfig) and config.weighting.by == "domain":
        planned_teachers(
            config.weighting, config.teacher_names, corpus.rows("train").domains(student_rows(config, corpus).ids)
        )
    if isinstance(config.weighting, PolicyConfig) and config.weighting.cross_fit:
        folds_of(corpus, student_rows(config, corpus).ids, config.weighting.cross_fit, config.data.seed)
    inspect = functools.cache(models.inspect)
    rows = {purpose: len(ids) for purpose, ids in corpus.ids.items() if len(ids)}
    learnt = len(student_rows(config, corpus).ids)
    warnings = [*corpus.warnings, *check_classes(config.objective, task)]
    teachers = []
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        count_of = {split: len(teacher_rows(split, teacher, corpus).ids) for split in ("train", "validation")}
        if isinstance(teacher, TrainedTeacherConfig):
            finetune.recipe_of(name, teacher, task, corpus, config.data.max_length)
        count_of["served"] = len(target_rows(config, corpus))
        if isinstance(teacher, EndpointTeacherConfig):
            entry, doubts = _endpoint(name, teacher, corpus, task, count_of)
        else:
            entry, doubts = _teacher(name, teacher, config, task.labels, corpus.named, count_of, inspect)
        teachers.append(entry)
        warnings += doubts
    groups = group_result(corpus)
    student = _trained("student", "train", config.student, config.train, learnt, config.data.max_length, inspect)
    return {
        "name": config.name,
        "task": {"type": task.type, "metric": task.best_by, "labels": list(task.labels), "named": corpus.named},
        "rows": rows,
        "target_domain": corpus.target,
        "overlap": corpus.overlap,
        "groups": None if groups is None else groups.model_dump(),
        "teachers": teachers,
        "student": student,
        "weighting": _policy(config, task, learnt, inspect),
        "feedback": _feedback(config, teachers, learnt, inspect),
        "features": feature_plan(config, corpus, inspect),
        "baselines": {name: student | _baseline(name, config, corpus, learnt, teachers) for name in config.baselines},
        "study": _study(config),
        "warnings": warnings,
    }


def _policy(config: RunConfig, task: Task, rows: int, inspect: Inspect) -> dict[str, Any] | None:
    """The policy that picks the teachers: what it sees, and how often it learns."""
    settings = config.weighting
    if not isinstance(settings, PolicyConfig):
        return None
    teacher = config.teachers[config.teacher_names.index(settings.sentence_teacher or config.teacher_names[0])]
    seen = teacher.model if isinstance(teacher, ModelTeacherConfig) else None
    encoder = settings.sentence_encoder or (seen.from_ if seen is not None else None)
    hidden = (seen.hidden_size if seen is not None else None) or 0
    if encoder is not None:
        info = inspect(encoder)
        info.check_length(config.data.max_length)
        hidden = info.hidden_size or 0
    labeled = config.data.unlabeled is None
    layout = StateSpec(tuple(config.teacher_names), hidden, task.classes, settings.student_state, labeled)
    if settings.start_from is not None:
        load_for(layout, settings.hidden_width, Path(settings.start_from).expanduser())
    policy = Policy(len(layout.teachers), layout.features, settings.hidden_width)
    calendar = UpdateSchedule(settings.student_warmup, settings.reward.every, settings.update_every)
    copies = sum(isinstance(teacher, TrainedTeacherConfig) for teacher in config.teachers) * settings.cross_fit
    return {
        "type": "policy",
        "parameters": sum(p.numel() for p in policy.parameters()),
        "updates": calendar.count(total_steps(rows, config.train) - 1) // settings.update_every,
        "sentences": settings.sentence_encoder or settings.sentence_teacher or config.teacher_names[0],
        "copies": copies,
    }


def _study(config: RunConfig) -> dict[str, Any] | None:
    """What `raykd study` would search; the rest of the plan is that of one run with the study's own settings."""
    settings = config.study
    if settings is None:
        return None
    listed = [settings.space[key].values or [] for key in settings.space]
    trials = math.prod(map(len, listed)) if settings.searcher.type == "grid" else settings.trials
    repeated = 0 if isinstance(settings.scheduler, PBTConfig) else settings.repeat.top_k * (settings.repeat.seeds - 1)
    return {
        "trials": trials,
        "repetitions": repeated,
        "keys": list(settings.space),
        "searcher": settings.searcher.type,
        "scheduler": settings.scheduler.type,
    }


def _feedback(config: RunConfig, teachers: list[dict[str, Any]], rows: int, inspect: Inspect) -> dict[str, Any] | None:
    """The teachers that learn: how often, on how many processes, and in how much memory."""
    settings = config.feedback
    if not isinstance(settings, CotangentFeedbackConfig):
        return None
    for name, teacher, learns in zip(config.teacher_names, config.teachers, config.trainable_teachers, strict=True):
        if learns:
            layout = _teacher_layout(teacher, config, inspect)
            models.trainable_names(layout, settings.trainable, f"teacher {name}: feedback.trainable")
    parameters = _learning_parameters(config, teachers)
    return {
        "type": settings.type,
        "teachers": config.learning_teachers,
        "parameters": parameters,
        "ranks": settings.ranks,
        "rounds": len(settings.rounds(total_steps(rows, config.train))),
        "memory_mb": round(parameters * LEARNING_BYTES * settings.ranks / 2**20),
    }


def _learning_parameters(config: RunConfig, teachers: list[dict[str, Any]]) -> int:
    return sum(entry["parameters"] for entry in teachers if entry["name"] in config.learning_teachers)


def _teacher(
    name: str,
    teacher: TeacherConfig,
    config: RunConfig,
    labels: tuple[str, ...],
    named: bool,
    rows: dict[str, int],
    inspect: Inspect,
) -> tuple[dict[str, Any], list[str]]:
    """A teacher's part of the plan, and what a person should know of its labels.

    Args:
        rows: of the training file, how many it is `served` for, to the student or a baseline, and, where it is
            fine-tuned, learns from (`train`); and how many of the validation choose its checkpoint (`validation`).
    """
    assert isinstance(teacher, ModelTeacherConfig)
    entry = _placed(name, teacher, rows)
    max_length = teacher.max_length or config.data.max_length
    if isinstance(teacher, TrainedTeacherConfig):
        section = f"teachers.{name}.finetune"
        entry |= _trained(name, section, teacher.model, teacher.finetune, rows["train"], max_length, inspect)
        entry |= {"train_rows": rows["train"], "validation_rows": rows["validation"]}
        return entry, []
    info = inspect(str(teacher.model.from_))
    own_labels = teacher.labels if isinstance(teacher, GivenTeacherConfig) else None
    _, warning = models.column_order(info.labels, labels, named, own_labels, f"teacher {name}")
    info.check_classifier()
    info.check_length(max_length)
    entry |= {"parameters": info.parameters, "layers": info.layers, "hidden_size": info.hidden_size}
    entry["memory_mb"] = round(info.parameters * 4 * teacher.replicas / 2**20)
    return entry, [warning] if warning else []


def _placed(name: str, teacher: TeacherConfig, rows: dict[str, int]) -> dict[str, Any]:
    """What the plan has of every teacher."""
    return {
        "name": name,
        "prepare": teacher.prepare,
        "replicas": teacher.replicas,
        "resources": {"CPU": teacher.num_cpus, "GPU": teacher.gpus, **teacher.resources},
        "rows": rows["served"],
    }


def _endpoint(
    name: str, teacher: EndpointTeacherConfig, corpus: Corpus, task: Task, rows: dict[str, int]
) -> tuple[dict[str, Any], list[str]]:
    """A server's part of the plan, from its own answer, and what a person should know of it."""
    prepared, warnings = prepare_endpoint(name, teacher, corpus, task.labels)
    assert prepared.endpoint is not None
    return _placed(name, teacher, rows) | {"endpoint": prepared.endpoint.summary}, warnings


def _teacher_layout(teacher: TeacherConfig, config: RunConfig, inspect: Inspect) -> PreTrainedModel:
    """The teacher as it will learn from feedback: names and shapes, no values."""
    assert isinstance(teacher, ModelTeacherConfig)  # RunConfig refuses others
    info = inspect(teacher.model.from_) if teacher.model.from_ is not None else None
    if isinstance(teacher, GivenTeacherConfig) and info is not None:
        return info.layout
    return models.planned_layout(teacher.model, info, teacher.max_length or config.data.max_length)


def _trained(
    name: str, section: str, model: ModelConfig, settings: OptimConfig, rows: int, max_length: int, inspect: Inspect
) -> dict[str, Any]:
    """What is trained, for how many steps, on how much: a student or a teacher."""
    info = inspect(model.from_) if model.from_ is not None else None
    parameters = models.planned_layout(model, info, max_length).num_parameters()
    return {
        "name": name,
        **_steps(section, settings, rows),
        "workers": settings.workers,
        "worker_resources": {"CPU": settings.worker_cpus, "GPU": settings.worker_gpus, **settings.worker_resources},
        "parameters": parameters,
        # A vocabulary that is learnt from the corpus may be smaller than the configured one.
        "at_most": info is None and model.tokenizer in KINDS,
        "memory_mb": round(parameters * ADAM_BYTES * settings.workers / 2**20),
    }


def _baseline(
    name: str, config: RunConfig, corpus: Corpus, student_rows: int, teachers: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is another in a baseline's plan than in the student's."""
    rows = len(baseline_rows(config, corpus, name).ids)
    entry = {"name": name, **_steps("train", baseline_training(config, rows, student_rows), rows)}
    return entry | {"teachers": _tuned(config, corpus, rows, teachers)} if name == "quiz_teacher" else entry


def _tuned(config: RunConfig, corpus: Corpus, rows: int, teachers: list[dict[str, Any]]) -> dict[str, Any]:
    """The teachers that `quiz_teacher` trains on the quiz, and the rows that each of them is served for then."""
    tuning, parameters = quiz_tuning(config, rows), _learning_parameters(config, teachers)
    return {
        "names": config.learning_teachers,
        "parameters": parameters,
        "steps": len(tuning.rounds),
        "quiz_rows": tuning.rows,
        "rows": len(quiz_teacher_targets(config, corpus)),
        "memory_mb": round(parameters * LEARNING_BYTES / 2**20),
    }


def _steps(section: str, settings: OptimConfig, rows: int) -> dict[str, int]:
    passes = settings.epochs * steps_per_epoch(rows, settings)
    if not math.isfinite(passes) or (settings.max_steps is None and passes > MOST_STEPS):
        what = (
            f"{settings.epochs:g} epochs of {steps_per_epoch(rows, settings)} steps are more than {MOST_STEPS:,} steps"
        )
        raise ConfigError(f"{section}.epochs", what, "lower epochs, or set max_steps")
    return {"steps_per_epoch": steps_per_epoch(rows, settings), "steps": total_steps(rows, settings)}

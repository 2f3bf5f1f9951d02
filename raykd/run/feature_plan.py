"""The features' part of a run's plan: the pairs of layers, bytes and forward passes; what a run would stop at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raykd import models
from raykd.config import (
    GivenTeacherConfig,
    MetaTeacherConfig,
    ModelConfig,
    ModelTeacherConfig,
    RunConfig,
    TeacherConfig,
)
from raykd.data.corpus import Corpus
from raykd.errors import ConfigError
from raykd.models import CheckpointInfo
from raykd.models.capture import capture_shape
from raykd.models.checkpoint import resolve_tokenizer
from raykd.models.domain_head import load_domain_head
from raykd.models.tokenizers import KINDS
from raykd.objective.feature_plan import EncoderShape
from raykd.run.arms import student_rows
from raykd.run.features import check_tokens, features_teacher, make_feature_plan
from raykd.teachers.features import row_bytes
from raykd.teachers.prototypes import load_prototypes
from raykd.training.optim import total_steps

CHARACTERS = 4
"""Of a token, about: no tokenizer may be there yet."""


def feature_plan(config: RunConfig, corpus: Corpus, inspect: Callable[[str], CheckpointInfo]) -> dict[str, Any] | None:
    """Teacher, pairs of layers, bytes of all rows and rows of forward passes; None where no features are matched.

    Raises:
        ConfigError, ModelError: the teacher's features cannot be matched by this student.
    """
    settings = config.objective.features
    if settings is None:
        return None
    k = features_teacher(config, settings)
    teacher, length = config.teachers[k], config.data.max_length
    assert isinstance(teacher, ModelTeacherConfig)  # RunConfig refuses others
    if settings.expertise or settings.knowledge is not None:
        _check_meta(config.teacher_names[k], teacher, settings.knowledge is not None)
    own, theirs = (_shape(model, inspect, length) for model in (config.student, teacher.model))
    plan = make_feature_plan(settings, own, theirs, config.seed)
    ragged = not all(column.pooled for column in plan.teacher_columns)
    tokenizers = [_tokenizer(model) for model in (config.student, teacher.model)]
    if ragged and None not in tokenizers:
        mine, its = map(str, tokenizers)
        check_tokens(config.teacher_names[k], mine, its, teacher.max_length or length, length)
    rows = student_rows(config, corpus)
    tokens = np.minimum(rows.rows().lengths[rows.ids] // CHARACTERS + 3, length)
    wire = "float64" if teacher.precision == "float64" else "float16"
    taken = row_bytes(plan.teacher_columns, tokens, theirs.heads, theirs.width, wire)
    stored = not ragged or taken <= settings.store_mb * 2**20
    steps = total_steps(len(rows.ids), config.train) * (settings.first_stage if settings.stages == 2 else 1)
    return {
        "teacher": config.teacher_names[k],
        "pairs": {name: list(pairs) for name, pairs in plan.pairs.items()},
        "bytes": taken,
        "bytes_per_row": round(taken / max(1, len(rows.ids))),
        "stored": stored,
        "forwards": len(rows.ids) if stored else round(steps * config.train.batch_size),
    }


def _check_meta(name: str, teacher: TeacherConfig, knowledge: bool) -> None:
    """Refuses a teacher that has neither prototypes nor a domain head.

    Raises:
        ConfigError: it is prepared in another way.
        ModelError: one that is given has none beside its checkpoint.
    """
    if isinstance(teacher, GivenTeacherConfig) and teacher.model.from_ is not None:
        folder = models.resolve(teacher.model.from_)
        load_prototypes(folder)
        if knowledge:
            load_domain_head(folder, models.weights_fingerprint(folder), torch.float32)
    elif not isinstance(teacher, MetaTeacherConfig):
        what = f"expertise and knowledge are a meta-teacher's, and {name} has prepare: {teacher.prepare}"
        raise ConfigError("objective.features", what, "set prepare: meta, or leave both out")
    elif knowledge and not (teacher.domain_weight and teacher.domain_loss != "none"):
        what = f"knowledge is of a domain head, and {name} trains none (domain_loss: none, or domain_weight: 0)"
        raise ConfigError("objective.features", what, "set domain_loss: corrupt, or leave knowledge out")


def _shape(model: ModelConfig, inspect: Callable[[str], CheckpointInfo], length: int) -> EncoderShape:
    info = inspect(model.from_) if model.from_ is not None else None
    return EncoderShape(*capture_shape(models.planned_layout(model, info, length).config))


def _tokenizer(model: ModelConfig) -> str | None:
    """The fingerprint of its tokenizer; None where that is trained on the corpus."""
    if model.from_ is not None:
        return models.tokenizer_fingerprint(models.resolve(model.from_))
    if model.tokenizer in KINDS:
        return None
    return models.tokenizer_fingerprint(Path(resolve_tokenizer(model.tokenizer)))

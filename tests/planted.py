"""Teachers whose answers are known: their soft targets are written into the store, where a run finds them.

A run that finds a sealed table starts no teacher, so the checkpoints behind them need no training; a student, a policy
and everything between them are real.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_ins import TASK

from raykd import config as configuration
from raykd import models
from raykd.config import GivenTeacherConfig, ModelConfig, RunConfig
from raykd.data.batch import Batch
from raykd.data.rows import Rows
from raykd.run.context import open_corpus
from raykd.teachers import finetune
from raykd.teachers.finetune import TeacherPrepContext
from raykd.teachers.local import LocalTeacher
from raykd.teachers.teacher_model import TeacherModel
from raykd.weighting.policy.model import load
from raykd.weighting.policy.state import StateEncoder

SHAPE = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=400, dropout=0.0)
SURE = 2.0
Answers = Callable[[Rows, np.ndarray], np.ndarray]
"""A split's rows and ids → logits [B, 2]."""


def pick(classes: np.ndarray) -> np.ndarray:
    """Logits of one who is sure of these classes, [B, 2]."""
    return np.where(np.arange(2) == classes[:, None], SURE, -SURE)


def expert(domain: str) -> Answers:
    """Right on the rows of a domain, wrong on all others; the generator's label noise is its truth too."""

    def answers(rows: Rows, ids: np.ndarray) -> np.ndarray:
        right = np.array(rows.domains(ids)) == domain
        return pick(np.where(right, rows.labels(ids), 1 - rows.labels(ids)))

    return answers


def guesser(seed: int, right: float = 0.5) -> Answers:
    """Right on a share of the rows, by chance."""

    def answers(rows: Rows, ids: np.ndarray) -> np.ndarray:
        hit = np.random.default_rng(seed).random(len(rows))[ids] < right
        return pick(np.where(hit, rows.labels(ids), 1 - rows.labels(ids)))

    return answers


def noise(seed: int, scale: float = 0.3) -> Answers:
    """Small random logits, as one would give who was taught random labels: sure of nothing, right half of the time."""

    def answers(rows: Rows, ids: np.ndarray) -> np.ndarray:
        return scale * np.random.default_rng(seed).normal(size=(len(rows), 2))[ids]

    return answers


def plant(raw: dict[str, Any], answers: dict[str, Answers], folder: Path, overrides: list[str]) -> RunConfig:
    """A run's configuration with teachers by these names, their soft targets sealed for all its rows."""
    texts = ["good bad fine poor"] * 50
    for k, name in enumerate(answers):
        if not (folder / name).is_dir():
            model, tokenizer = models.build(SHAPE, TASK, texts, k, 48)
            models.save(model, tokenizer, folder / name)
    raw = raw | {"teachers": [{"name": name, "model": str(folder / name)} for name in answers]}
    config = configuration.parse(raw, overrides)
    corpus, task = open_corpus(config)
    prep = TeacherPrepContext(corpus, task, config.cache_folder, folder, config.data.max_length, False, None, None)  # type: ignore[arg-type]
    for (name, answer), settings in zip(answers.items(), config.teachers, strict=True):
        teacher, _ = finetune.prepare(name, settings, prep)
        for signal in ("train", "validation"):
            rows = corpus.rows(signal)
            ids = np.arange(len(rows))
            store = teacher.store(config.cache_folder, corpus.splits[corpus.source[signal]].texts)
            store.append(ids, answer(rows, ids))
            store.seal()
    return config


def held_out_choices(config: RunConfig, run: Path, answers: dict[str, Answers]) -> tuple[np.ndarray, Rows]:
    """π [N, K] of a run's exported policy on the validation rows, which neither policy nor student has seen."""
    exported = load(run / "policy")
    corpus, task = open_corpus(config)
    rows = corpus.rows("validation")
    ids = corpus.ids["validation"]
    vectors = sentence_vectors(config, corpus.splits[corpus.source["validation"]], ids)
    states = StateEncoder(exported.layout, task, vectors.__getitem__)
    states.scaling = exported.scaling
    logits_KBC = torch.from_numpy(np.stack([answer(rows, ids) for answer in answers.values()])).float()
    batch = Batch(ids, torch.from_numpy(rows.labels(ids)), {}, 0, 0, len(ids))
    with torch.no_grad():
        return exported.policy(states.of(batch, logits_KBC)).sigmoid().numpy(), rows


def sentence_vectors(config: RunConfig, split: Any, ids: np.ndarray) -> np.ndarray:
    """The pooled state of the first teacher, by id."""
    teacher = config.teachers[0]
    assert isinstance(teacher, GivenTeacherConfig)
    folder = Path(str(teacher.model.from_))
    width = models.describe(folder)["hidden_size"]
    encoder = TeacherModel(
        name="sentences", folder=str(folder), columns=tuple(range(width)), labels=(),
        max_length=config.data.max_length, dtype="float32", weights="", tokenizer="", parameters=0, output="pooled",
    )  # fmt: skip
    return LocalTeacher(encoder, torch.device("cpu")).logits(split, ids)

"""A run of a few seconds on the embedded corpus, for tests to vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raykd.config import DataConfig, GeneratorConfig, RunConfig, TaskConfig
from raykd.data import corpus as corpora
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task

Configure = Callable[..., RunConfig]

TINY_TEACHER: dict[str, Any] = {
    "model": {"layers": 1, "hidden_size": 32, "heads": 2, "vocab_size": 400, "dropout": 0.0},
    "prepare": "finetune",
    "finetune": {"epochs": 1, "lr": 2e-3, "batch_size": 32},
}

TOKENIZER_TEACHERS: list[dict[str, Any]] = [
    {**TINY_TEACHER, "name": kind, "model": {**TINY_TEACHER["model"], "tokenizer": kind}}
    for kind in ("wordpiece", "bpe")
]
"""Two teachers, each with a tokenizer of its own."""


def tiny_config(changes: dict[str, Any], cache: Path) -> dict[str, Any]:
    """A run of a few seconds on the embedded corpus; dropout 0."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "source": "generated",
            "max_length": 24,
            "generated": {"rows": 240, "validation_rows": 80, "domains": 2},
        },
        "teachers": [dict(TINY_TEACHER)],
        "student": {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.0},
        "train": {"epochs": 2, "batch_size": 32, "lr": 2e-3, "log_every": 1, "threads": 1},
        "parity_rows": 4,
        "cluster": {"num_cpus": 8, "object_store_mb": 128},
        "cache": str(cache),
    }
    return raw | changes


def easy_rows(folder: Path) -> dict[str, Any]:
    """Rows that a student of one layer learns in an epoch: every word tells; the section `data` that reads them."""
    rng = np.random.default_rng(0)
    for split, rows in (("train", 320), ("validation", 80)):
        labels = rng.permutation(np.arange(rows) % 2)
        texts = [" ".join(rng.choice([f"{'ab'[label]}{k}" for k in range(6)], 5)) for label in labels]
        pd.DataFrame({"text": texts, "label": labels}).to_csv(folder / f"{split}.csv", index=False)
    return {"source": str(folder), "max_length": 16}


def graded_rows(folder: Path, rows: int, validation_rows: int) -> None:
    """A regression: train.csv and validation.csv whose value is the number of good words among five."""
    rng = np.random.default_rng(0)
    for name, count in (("train", rows), ("validation", validation_rows)):
        scores = rng.integers(0, 6, count)
        lines = [f"{'good ' * int(s)}{'bad ' * int(5 - s)}end,{s}.0" for s in scores]
        (folder / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")


def generated_corpus(folder: Path, rows: int, validation_rows: int, domains: int = 2) -> tuple[Corpus, Task]:
    """A corpus of the embedded generator, cached in a folder; and its task."""
    settings = GeneratorConfig(rows=rows, validation_rows=validation_rows, domains=domains)
    corpus = corpora.load(DataConfig(source="generated", generated=settings), TaskConfig(), folder)
    return corpus, Task("classification", "accuracy", tuple(corpus.labels or ()))

"""What the student, its baselines and its teachers answer on the splits that models are scored on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from raykd import models
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.files import replacing
from raykd.records.predictions import STUDENT
from raykd.teachers.serving.client import TeacherClient
from raykd.teachers.serving.session import TeacherSession, TeacherStatus
from raykd.training.evaluate import predict
from raykd.training.job import Subset

SPLITS = ("validation", "test")
Logits = dict[str, np.ndarray]
"""Logits [N, C] of one model by split."""


def teacher_logits(served: TeacherStatus, session: TeacherSession) -> Logits:
    """A teacher's logits as it is served at version 0, on validation and on test where the session has such rows."""
    logits = {}
    for split in [split for split in SPLITS if split in session.requests]:
        source = session.source(served, split)
        client = TeacherClient(source)
        logits[split] = client.get(source.wanted)
        client.close()
    return logits


def logits_on_test(checkpoint: Path, corpus: Corpus, max_length: int) -> Logits:
    """A checkpoint's logits on the test split; empty where there is none."""
    if "test" not in corpus.ids:
        return {}
    return {"test": checkpoint_logits(checkpoint, Subset.of(corpus, "test"), max_length)}


def checkpoint_logits(checkpoint: Path, subset: Subset, max_length: int) -> np.ndarray:
    """A checkpoint's logits [N, C] on given rows, in float32 on the CPU."""
    model, tokenizer = models.load(checkpoint, torch.float32)
    return predict(model, Encoder(tokenizer, subset.rows(), max_length), subset.ids, torch.device("cpu"))


def scores_by_split(logits: Logits, corpus: Corpus, task: Task) -> dict[str, dict[str, float]]:
    """All metrics of a model on each split that it has answered."""
    labels = {split: Subset.of(corpus, split).labels() for split in logits}
    return {split: task.scores(values, labels[split]) for split, values in logits.items()}


def save_predictions(path: Path, logits: Mapping[str, Logits], corpus: Corpus, task: Task) -> None:
    """Writes a row for each arm, split and id as parquet: label, prediction and, of classes, probabilities.

    Args:
        logits: of each arm (the student, baselines, teachers) by name.
    """
    _write(path, _frames(logits, corpus, task))


def add_predictions(path: Path, logits: Mapping[str, Logits], corpus: Corpus, task: Task) -> None:
    """Adds arms and splits to a file of `save_predictions`, or begins it; those that it has already keep their rows."""
    before = _written(path)
    known = {pair for frame in before for pair in zip(frame["arm"], frame["split"], strict=True)}
    missing = {
        arm: {split: values for split, values in answers.items() if (arm, split) not in known}
        for arm, answers in logits.items()
    }
    _write(path, [*before, *_frames(missing, corpus, task)])


def _written(path: Path) -> list[pd.DataFrame]:
    """What a file holds, as one table, or none. One of an earlier version is of the student on validation alone."""
    if not path.is_file():
        return []
    frame = pd.read_parquet(path)
    if "arm" not in frame:
        frame.insert(0, "split", "validation")
        frame.insert(0, "arm", STUDENT)
    return [frame]


def _write(path: Path, frames: list[pd.DataFrame]) -> None:
    with replacing(path) as draft:
        pd.concat(frames).to_parquet(draft, index=False)


def _frames(logits: Mapping[str, Logits], corpus: Corpus, task: Task) -> list[pd.DataFrame]:
    return [
        _frame(arm, split, values, Subset.of(corpus, split), task)
        for arm, answers in logits.items()
        for split, values in answers.items()
    ]


def _frame(arm: str, split: str, logits: np.ndarray, subset: Subset, task: Task) -> pd.DataFrame:
    columns: dict[str, Any] = {"arm": arm, "split": split, "id": subset.ids, "label": subset.labels()}
    if task.classes == 1:
        columns["prediction"] = logits[:, 0]
    else:
        columns["prediction"] = logits.argmax(1)
        probabilities = torch.softmax(torch.from_numpy(logits), -1).numpy()
        columns |= {f"prob_{label}": probabilities[:, c] for c, label in enumerate(task.labels)}
    return pd.DataFrame(columns)

"""Soft targets as a finished pass leaves them, of teachers that nobody has built."""

from __future__ import annotations

from raykd.teachers.serving.client import TargetSource
from raykd.teachers.teacher_model import TeacherModel

from ._sleeper import made_up_logits
from ._stage import MAX_LENGTH, Stage


def nobody(stage: Stage, name: str) -> TeacherModel:
    """A teacher's name and address, and no model."""
    labels = stage.task.labels
    return TeacherModel(
        name=name,
        folder=str(stage.folder / f"teacher-{name}"),
        columns=tuple(range(len(labels))),
        labels=labels,
        max_length=MAX_LENGTH,
        dtype="float32",
        weights=name,
        tokenizer="",
        parameters=0,
    )


def sealed_source(stage: Stage, name: str) -> TargetSource:
    """A teacher's table with logits that nobody computed."""
    return table(stage, nobody(stage, name))


def table(stage: Stage, model: TeacherModel) -> TargetSource:
    """A sealed table of a model's answers to the training rows."""
    train = stage.subset("train")
    store = model.store(stage.cache, train.split.texts)
    store.append(train.ids, made_up_logits(train.ids, model.classes))
    store.seal()
    return TargetSource(model, train.split, str(stage.cache), "bench", train.ids, service=None)

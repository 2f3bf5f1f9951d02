"""What a weighting needs before the student begins: sentence vectors and cross-fitted logits of teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raykd import models
from raykd.config import PolicyConfig, TeacherConfig, TrainedTeacherConfig
from raykd.data.corpus import Corpus
from raykd.run.arms import student_rows
from raykd.run.context import RunContext
from raykd.student.factory import WeightingSources
from raykd.teachers import finetune
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import TargetRequest
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset


def compute_weighting_inputs(context: RunContext, teachers: Sequence[TeacherModel]) -> WeightingSources:
    """Computes what the configuration's weighting asks for; what is remembered from an earlier run costs nothing."""
    policy = context.config.weighting
    reward = Subset.of(context.corpus, "reward") if "reward" in context.corpus.ids else None
    weighting_inputs = WeightingSources(context.run, reward, lease_s=context.config.cluster.lease_s)
    if not isinstance(policy, PolicyConfig):
        return weighting_inputs
    train = student_rows(context.config, context.corpus)
    encoder, settings = _encoder(context, policy, teachers)
    sentences = answered(context, "sentence vectors", encoder, settings, train.ids)
    folds = _cross_fit(context, policy.cross_fit, teachers, train) if policy.cross_fit else ()
    return replace(weighting_inputs, sentences=sentences, folds=folds)


def _encoder(
    context: RunContext, policy: PolicyConfig, teachers: Sequence[TeacherModel]
) -> tuple[TeacherModel, TeacherConfig]:
    """The model that gives the sentence vectors, and what it runs on."""
    config = context.config
    if policy.sentence_encoder is not None:
        return encoder_by_name(policy.sentence_encoder, config.data.max_length)
    name = policy.sentence_teacher
    k = config.teacher_names.index(name) if name is not None else 0
    teacher = teachers[k]
    width = models.describe(Path(teacher.folder))["hidden_size"]
    encoder = replace(
        teacher, name=f"{teacher.name} (sentences)", output="pooled", columns=tuple(range(width)), labels=()
    )
    return encoder, config.teachers[k]


def encoder_by_name(name: str, max_length: int) -> tuple[TeacherModel, TeacherConfig]:
    """A checkpoint, by its folder or hub name, as a model that gives sentence vectors, and what it runs on."""
    folder = models.resolve(name)
    width = models.describe(folder)["hidden_size"]
    encoder = TeacherModel(
        name="sentences",
        folder=str(folder),
        columns=tuple(range(width)),
        labels=(),
        max_length=max_length,
        dtype="float32",
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
        parameters=models.parameter_count(folder),
        output="pooled",
    )
    return encoder, TeacherConfig.of({"name": "sentences", "model": name})


def _cross_fit(
    context: RunContext, n: int, teachers: Sequence[TeacherModel], train: Subset
) -> tuple[tuple[TargetSource, ...], ...]:
    """Of each teacher that was fine-tuned here, copies that each have seen all folds of the training rows but one.

    Yuan et al. fit their teachers on the rows on which the policy then reads their losses; these are optimistic.
    """
    config = context.config
    folds = folds_of(context.corpus, train.ids, n, config.data.seed)
    sources: list[list[TargetSource]] = [[] for _ in teachers]
    for fold in range(n):
        held_out = np.sort(train.ids[folds == fold])
        prep = replace(context.teacher_prep(), corpus=without_rows(context.corpus, held_out))
        for k, (name, settings) in enumerate(zip(config.teacher_names, config.teachers, strict=True)):
            if isinstance(settings, TrainedTeacherConfig):
                copy, _ = finetune.prepare(f"{name} (fold {fold + 1} of {n})", settings, prep)
                sources[k].append(answered(context, f"fold {fold + 1} of {n} of {name}", copy, settings, held_out))
    return tuple(tuple(some) for some in sources)


def folds_of(corpus: Corpus, ids: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The fold of each training row, 0 to n − 1; rows of one group have the same.

    Raises:
        DataError: there are fewer groups than folds.
    """
    if corpus.groups is not None:
        return corpus.groups.folds(ids, n, seed)
    # By place in a fixed shuffle, so that folds do not depend on how the file was sorted.
    places = np.random.Generator(np.random.Philox(key=np.array([seed, n], np.uint64))).permutation(len(ids))
    return places % n


def without_rows(corpus: Corpus, held_out: np.ndarray) -> Corpus:
    """The corpus as a teacher's copy may learn from it: without these rows, beyond its train without their groups."""
    train = np.setdiff1d(corpus.ids["train"], held_out)
    teachable = np.setdiff1d(corpus.teachable, held_out)  # what a teacher with a budget of its own learns from
    if corpus.groups is not None:
        teachable = np.setdiff1d(teachable, corpus.groups.beside(teachable, held_out))
    return replace(corpus, ids={**corpus.ids, "train": train}, teachable=teachable)


def answered(
    context: RunContext, phase: str, model: TeacherModel, settings: TeacherConfig, ids: np.ndarray
) -> TargetSource:
    """A source of a model's answers on training rows, computed now where they are not stored.

    Raises:
        Interrupted: finished rows are kept.
    """
    specs = context.services([model], [settings])
    split = Subset.of(context.corpus, "train").split
    with context.session(specs, {"train": TargetRequest(split, ids)}) as session:
        if any(source.service is not None for source in session.sources("train")):
            context.phase(phase)
            session.start(context.metrics)
            session.wait(context.stop)
        (source,) = session.sources("train")
        return source

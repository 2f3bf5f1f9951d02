"""What a weighting must know before the student begins: sentence vectors, and honest logits of fine-tuned teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raykd import models
from raykd.config import TeacherConfig
from raykd.run.context import Scene
from raykd.student.weighting import Insight
from raykd.teachers import finetune
from raykd.teachers.serving.client import Source
from raykd.teachers.teacher_model import Prepared
from raykd.teachers.serving.session import Serving, Wanted
from raykd.training.job import Signal


def gather(scene: Scene, teachers: Sequence[Prepared]) -> Insight:
    """Computes what the configuration's weighting asks for; what is remembered from an earlier run costs nothing."""
    given = scene.config.weighting
    reward = Signal.of(scene.corpus, "reward") if "reward" in scene.corpus.ids else None
    insight = Insight(scene.run, reward, lease_s=scene.config.cluster.lease_s)
    if given.type != "policy":
        return insight
    train = Signal.of(scene.corpus, "train")
    encoder, settings = _encoder(scene, teachers)
    sentences = _answered(scene, "sentence vectors", encoder, settings, train.ids)
    folds = _cross_fit(scene, teachers, train) if given.cross_fit else ()
    return replace(insight, sentences=sentences, folds=folds)


def _encoder(scene: Scene, teachers: Sequence[Prepared]) -> tuple[Prepared, TeacherConfig]:
    """The model that gives the sentence vectors, and what it runs on."""
    config = scene.config
    if config.weighting.sentence_encoder is not None:
        return _by_name(config.weighting.sentence_encoder, config.data.max_length)
    asked = config.weighting.sentence_teacher
    k = config.teacher_names.index(asked) if asked is not None else 0
    teacher = teachers[k]
    width = models.describe(Path(teacher.folder))["hidden_size"]
    encoder = replace(
        teacher, name=f"{teacher.name} (sentences)", output="pooled", columns=tuple(range(width)), labels=()
    )
    return encoder, config.teachers[k]


def _by_name(name: str, max_length: int) -> tuple[Prepared, TeacherConfig]:
    folder = models.resolve(name)
    width = models.describe(folder)["hidden_size"]
    encoder = Prepared(
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
    return encoder, TeacherConfig.model_validate({"name": "sentences", "model": name})


def _cross_fit(scene: Scene, teachers: Sequence[Prepared], train: Signal) -> tuple[tuple[Source, ...], ...]:
    """Of each teacher that was fine-tuned here, copies that each have seen all folds of the training rows but one.

    Yuan et al. fit their teachers on the rows on which the policy then reads their losses; these are optimistic.
    """
    config = scene.config
    n = config.weighting.cross_fit
    # By place in a fixed shuffle, so that folds do not depend on how the file was sorted.
    places = np.random.Generator(np.random.Philox(key=np.array([config.data.seed, n], np.uint64))).permutation(
        len(train.ids)
    )
    sources: list[list[Source]] = [[] for _ in teachers]
    for fold in range(n):
        held = np.sort(train.ids[places % n == fold])
        seen = replace(scene.corpus, ids={**scene.corpus.ids, "train": np.setdiff1d(train.ids, held)})
        shop = replace(scene.shop(), corpus=seen)
        for k, (name, settings) in enumerate(zip(config.teacher_names, config.teachers, strict=True)):
            if settings.prepare == "finetune":
                copy, _ = finetune.prepare(f"{name} (fold {fold + 1} of {n})", settings, shop)
                sources[k].append(_answered(scene, f"fold {fold + 1} of {n} of {name}", copy, settings, held))
    return tuple(tuple(some) for some in sources)


def _answered(scene: Scene, phase: str, model: Prepared, settings: TeacherConfig, ids: np.ndarray) -> Source:
    """A model's answers on training rows, computed now where they are not remembered.

    Raises:
        Interrupted: finished rows are kept.
    """
    specs = scene.services([model], [settings])
    split = Signal.of(scene.corpus, "train").split
    with Serving(specs, {"train": Wanted(split, ids)}, scene.run) as serving:
        if any(source.service is not None for source in serving.sources("train")):
            scene.phase(phase)
            serving.start(scene.metrics)
            serving.wait(scene.stop)
        (source,) = serving.sources("train")
        return source

"""Whether a study's keys exist and may differ between its trials, in the configuration that it is a section of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.config.base import Mark
from raykd.config.keys import fields_at, keys_marked, marked, validation_error
from raykd.config.search import PBTConfig
from raykd.config.study import StudyConfig
from raykd.config.task import TaskConfig

if TYPE_CHECKING:
    from raykd.config.run import RunConfig


def check_study(config: RunConfig) -> None:
    """Refuses a study that does not fit its configuration.

    Raises:
        ValueError: with the key and what to do.
    """
    study = config.study
    if study is None:
        return
    for key in study.space:
        _check_key(config, study, key)
    if study.metric is not None:
        try:
            TaskConfig(type=config.task.type, metric=study.metric)
        except ValueError as error:
            raise ValueError(f"study.metric: {study.metric} does not fit {config.task.type}") from error
    if study.repeat.top_k and config.seed + study.repeat.seeds > 2**32:
        raise ValueError("study.repeat: the seeds from `seed` upwards exceed 32 bits: lower `seed`")
    if isinstance(study.scheduler, PBTConfig) and config.train.workers > 1:
        raise ValueError("study.scheduler: pbt needs students of one worker (train.workers: 1)")
    if study.minimize is not None and config.train.workers > 1:
        raise ValueError("study.minimize: needs students of one worker (train.workers: 1)")


def _check_key(config: RunConfig, study: StudyConfig, key: str) -> None:
    root, parts = type(config), key.split(".")
    try:
        fields_at(root, key)
    except ValueError as error:
        raise ValueError(f"study.space: {error}") from None
    if marked(root, parts, Mark.SHARED):
        raise ValueError(f"study.space.{key}: all trials of a study share it; set it once, outside the space")
    if isinstance(study.scheduler, PBTConfig) and not marked(root, parts, Mark.LIVE):
        live = [known for known in keys_marked(root, Mark.LIVE) if not marked(root, known.split("."), Mark.SHARED)]
        why = "it would change shapes, rows or seeds in mid-training"
        raise ValueError(f"study.space.{key}: pbt cannot change it, {why}; it can change {', '.join(live)}")
    for value in study.space[key].examples:
        refusal = validation_error(root, key, value)
        if refusal is not None:
            raise ValueError(f"study.space.{key}: {value!r}: {refusal}")

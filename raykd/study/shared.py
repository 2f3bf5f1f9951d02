"""What a study does once for all trials: teachers prepared, every row that any trial can want computed and sealed."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raykd.run.weighting_inputs import gather
from raykd.run.result import teacher_entry
from raykd.run.context import Scene
from raykd.run.driver import all_rows, prepare_teachers, soft_targets
from raykd.study import space
from raykd.teachers.teacher_model import Prepared
from raykd.teachers.serving.session import Serving, Wanted
from raykd.training.job import Signal

log = logging.getLogger(__name__)
FILE = "shared.json"


@dataclass(frozen=True)
class Shared:
    """The teachers of a study.

    Attributes:
        entries: what is known of each, and what its rows cost, as in result.json.
        targets_s: seconds of the pass, in the session that made it.
    """

    teachers: tuple[Prepared, ...]
    entries: tuple[dict[str, Any], ...]
    targets_s: float
    warnings: list[str]


def prepare(scene: Scene) -> Shared:
    """Teachers and sealed tables; what is remembered costs nothing. A study that goes on keeps its first account.

    Raises:
        Interrupted: stopped; finished rows are kept.
    """
    config = scene.config
    teachers, warnings = prepare_teachers(scene)
    specs = scene.services(teachers, config.teachers)
    validation = Signal.of(scene.corpus, "validation")
    wanted = {
        "train": Wanted(scene.corpus.splits["train"], trained_on(scene)),
        "validation": Wanted(validation.split, validation.ids),
    }
    with Serving(specs, wanted, scene.run) as serving:
        targets_s = soft_targets(scene, serving, wait=True)
        entries = [teacher_entry(served, serving, scene.task) for served in serving.served]
    if space.policies(config):
        policy = config.weighting.model_copy(update={"type": "policy", "weights": None})
        gather(replace(scene, config=config.model_copy(update={"weighting": policy})), teachers)
    return _first_account(scene, Shared(tuple(teachers), tuple(entries), targets_s, warnings))


def trained_on(scene: Scene) -> np.ndarray:
    """The rows of the training split on which any trial may hear a teacher; a quiz is taken from the labels alone."""
    return all_rows(scene.corpus, ["reward"]).ids


def _first_account(scene: Scene, fresh: Shared) -> Shared:
    path = scene.folder.path / FILE
    if path.exists():
        said = json.loads(path.read_text(encoding="utf-8"))
        return replace(fresh, entries=tuple(said["teachers"]), targets_s=said["targets_s"])
    scene.folder.write_json(path, {"teachers": list(fresh.entries), "targets_s": fresh.targets_s})
    return fresh

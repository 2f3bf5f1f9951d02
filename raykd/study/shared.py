"""What a study does once for all trials: teachers prepared, every row that any trial can want computed and sealed."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

import numpy as np

from raykd.files import write_text
from raykd.records.result import TeacherResult
from raykd.run.context import RunContext
from raykd.run.driver import all_rows, prepare_teachers, soft_targets
from raykd.run.result import teacher_result
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.study import space
from raykd.teachers.serving.session import TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

log = logging.getLogger(__name__)
FILE = "shared.json"


@dataclass(frozen=True)
class Shared:
    """The teachers of a study.

    Attributes:
        entries: each teacher and what its rows cost, as in a result.
        targets_s: seconds of the pass, in the session that made it.
    """

    teachers: tuple[TeacherModel, ...]
    entries: tuple[TeacherResult, ...]
    targets_s: float
    warnings: list[str]


def prepare(context: RunContext) -> Shared:
    """Teachers and sealed tables; what is remembered costs nothing. A study that goes on keeps its first account.

    Raises:
        Interrupted: stopped; finished rows are kept.
    """
    config = context.config
    teachers, warnings = prepare_teachers(context)
    specs = context.services(teachers, config.teachers)
    validation = Subset.of(context.corpus, "validation")
    wanted = {
        "train": TargetRequest(context.corpus.splits["train"], trained_on(context)),
        "validation": TargetRequest(validation.split, validation.ids),
    }
    with TeacherSession(specs, wanted, context.run) as session:
        targets_s = soft_targets(context, session, wait=True)
        entries = [teacher_result(served, session, context.task) for served in session.served]
    if space.policies(config):
        policy = config.weighting.model_copy(update={"type": "policy", "weights": None})
        compute_weighting_inputs(replace(context, config=config.model_copy(update={"weighting": policy})), teachers)
    return _first_account(context, Shared(tuple(teachers), tuple(entries), targets_s, warnings))


def trained_on(context: RunContext) -> np.ndarray:
    """The rows of the training split on which any trial may hear a teacher; a quiz is taken from the labels alone."""
    return all_rows(context.corpus, ["reward"]).ids


def _first_account(context: RunContext, fresh: Shared) -> Shared:
    path = context.folder.path / FILE
    if path.exists():
        first = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(TeacherResult.model_validate(entry) for entry in first["teachers"])
        return replace(fresh, entries=entries, targets_s=first["targets_s"])
    content = {"teachers": [entry.model_dump() for entry in fresh.entries], "targets_s": fresh.targets_s}
    write_text(path, json.dumps(content, indent=1))
    return fresh

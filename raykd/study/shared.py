"""What a study does once for all trials: teachers prepared, every row that any trial can want computed and sealed."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

from raykd.files import write_json
from raykd.records.run_result import TeacherResult
from raykd.run.answers import Logits, scores_by_split, teacher_logits
from raykd.run.arms import student_rows
from raykd.run.context import RunContext
from raykd.run.driver import prepare_teachers
from raykd.run.features import feature_session
from raykd.run.result import teacher_result
from raykd.run.targets import compute_targets, rows_of_trials, teacher_session
from raykd.run.train import initial_student
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.study import space
from raykd.teachers.serving.session import TeacherSession, TeacherStatus
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
FILE = "shared.json"


@dataclass(frozen=True)
class Shared:
    """The teachers of a study.

    Attributes:
        entries: each teacher and what its rows cost, as in a result; without scores on the test split.
        logits: each teacher's answers on validation and test.
        targets_s: seconds of the pass, in the session that made it.
    """

    teachers: tuple[TeacherModel, ...]
    entries: tuple[TeacherResult, ...]
    logits: tuple[Logits, ...]
    targets_s: float
    warnings: list[str]


def prepare(context: RunContext) -> Shared:
    """Teachers and sealed tables; what is stored costs nothing. A study that resumes keeps its first account.

    Raises:
        Interrupted: stopped; finished rows are kept.
    """
    config = context.config
    teachers, warnings = prepare_teachers(context)
    with teacher_session(context, teachers, rows_of_trials(context)) as session:
        targets_s = compute_targets(context, session, wait=True)
        logits = tuple(teacher_logits(served, session) for served in session.served)
        entries = [_entry(context, session, *pair) for pair in zip(session.served, logits, strict=True)]
    if config.objective.features is not None:
        start = initial_student(context, context.folder.path / "starts" / "features")
        with feature_session(context, teachers, start, student_rows(config, context.corpus).ids, wait=True):
            pass  # those of the study's own configuration are stored then, as far as they fit
    for policy in space.policies(config):
        compute_weighting_inputs(replace(context, config=config.model_copy(update={"weighting": policy})), teachers)
    return _first_account(context, Shared(tuple(teachers), tuple(entries), logits, targets_s, warnings))


def _entry(context: RunContext, session: TeacherSession, served: TeacherStatus, logits: Logits) -> TeacherResult:
    """A teacher as trials report it: the test split is scored once, for the best of them."""
    scores = scores_by_split({"validation": logits["validation"]}, context.corpus, context.task)
    return teacher_result(served, session, scores, context.task)


def _first_account(context: RunContext, fresh: Shared) -> Shared:
    path = context.folder.path / FILE
    if path.exists():
        first = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(TeacherResult.model_validate(entry) for entry in first["teachers"])
        return replace(fresh, entries=entries, targets_s=first["targets_s"])
    content = {"teachers": [entry.model_dump() for entry in fresh.entries], "targets_s": fresh.targets_s}
    write_json(path, content)
    return fresh

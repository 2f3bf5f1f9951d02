"""What is done once before the students of all domains: teachers prepared, every row that any of them wants computed.

Domains that have a teacher in common share its pass: without a budget these are all of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from raykd.domains.plan import DomainRun
from raykd.files import write_json
from raykd.records.domains_result import SharedTeacherResult
from raykd.run.answers import SPLITS
from raykd.run.arms import target_rows
from raykd.run.context import RunContext
from raykd.run.driver import PreparedTeachers, prepare_teachers
from raykd.run.features import feature_session
from raykd.run.targets import compute_targets
from raykd.run.train import initial_student
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.teachers.serving.session import TargetRequest, TeacherSession, TeacherStatus
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

log = logging.getLogger(__name__)
FILE = "shared.json"


@dataclass(frozen=True)
class Shared:
    """The teachers of each domain's run, and what the passes of all teachers cost."""

    prepared: dict[str, PreparedTeachers]
    entries: list[SharedTeacherResult]


def prepare(context: RunContext, runs: Sequence[DomainRun]) -> Shared:
    """Teachers and stored rows; what is stored costs nothing.

    Args:
        context: of all domains; its log has the phases.
        runs: those that are not finished; their folders are written to.

    Raises:
        Interrupted: stopped; finished rows and teachers are kept.
    """
    contexts = {run.domain: run_context(context, run) for run in runs}
    prepared = {domain: prepare_teachers(own) for domain, own in contexts.items()}
    entries = []
    for places, group in _passes(runs, prepared):
        entries += _pass(context, group, places, prepared[group[0].domain][0])
    for domain, own in contexts.items():
        teachers, _ = prepared[domain]
        start = initial_student(own)
        with feature_session(own, teachers, start, target_rows(own.config, own.corpus), wait=True):
            pass  # those that fit are stored then
        compute_weighting_inputs(own, teachers)
    return Shared(prepared, entries)


def run_context(context: RunContext, run: DomainRun) -> RunContext:
    """The context of a domain's run within the driver: its phases go to the common log."""
    return replace(context, config=run.config, folder=run.folder, corpus=run.corpus, task=run.task)


def first_account(context: RunContext, fresh: Sequence[SharedTeacherResult]) -> list[SharedTeacherResult]:
    """What the teachers' passes cost in the first session that had them; later ones find all rows stored."""
    path = context.folder.path / FILE
    if path.exists():
        entries = json.loads(path.read_text(encoding="utf-8"))["teachers"]
        return [SharedTeacherResult.model_validate(entry) for entry in entries]
    write_json(path, {"teachers": [entry.model_dump() for entry in fresh]})
    return list(fresh)


def _passes(
    runs: Sequence[DomainRun], prepared: dict[str, PreparedTeachers]
) -> list[tuple[list[int], list[DomainRun]]]:
    """Teachers, by their places in the ensemble, that the same runs have in common; each teacher of a run once."""
    sharing: dict[tuple[str, ...], tuple[int, dict[str, DomainRun]]] = {}
    for run in runs:
        texts = [run.corpus.splits[run.corpus.source[signal]].texts for signal in _signals(run)]
        for k, teacher in enumerate(prepared[run.domain][0]):
            _, group = sharing.setdefault((teacher.identity, *texts), (k, {}))
            group[run.domain] = run
    passes: dict[tuple[str, ...], tuple[list[int], list[DomainRun]]] = {}
    for k, group in sharing.values():
        passes.setdefault(tuple(group), ([], list(group.values())))[0].append(k)
    return list(passes.values())


def _signals(run: DomainRun) -> list[str]:
    return ["train", *(split for split in SPLITS if split in run.corpus.ids)]


def _pass(
    context: RunContext, group: Sequence[DomainRun], places: Sequence[int], ensemble: Sequence[TeacherModel]
) -> list[SharedTeacherResult]:
    """One pass over the rows of these domains by the teachers in these places of their ensemble; what it cost."""
    first, requests = group[0], {}
    for signal in _signals(first):
        parts = [_wanted(run, signal) for run in group]
        requests[signal] = TargetRequest(Subset.of(first.corpus, signal).split, np.unique(np.concatenate(parts)))
    own = replace(context, config=first.config, corpus=first.corpus, task=first.task)
    specs = own.services([ensemble[k] for k in places], [first.config.teachers[k] for k in places])
    with own.session(specs, requests) as session:
        compute_targets(own, session, wait=True)
        return [_entry(status, session, group) for status in session.served]


def _wanted(run: DomainRun, signal: str) -> np.ndarray:
    """Ids of the rows of a signal whose soft targets a domain's run reads."""
    return target_rows(run.config, run.corpus) if signal == "train" else run.corpus.ids[signal]


def _entry(status: TeacherStatus, session: TeacherSession, group: Sequence[DomainRun]) -> SharedTeacherResult:
    teacher, cost = status.teacher, status.cost
    return SharedTeacherResult(
        name=teacher.name,
        domains=[run.domain for run in group],
        parameters=teacher.parameters,
        forwards=cost.forwards,
        rows_computed=cost.rows_computed,
        rows_reused=session.rows_wanted() - cost.rows_computed,
        seconds=cost.seconds,
        address=teacher.address(session.requests["validation"].split.texts).digest,
    )

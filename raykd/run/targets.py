"""The soft targets of a run or study: which rows of which splits, their one pass, whether the student waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from raykd.run.answers import SPLITS
from raykd.run.arms import rows_of, student_signals, target_rows
from raykd.run.context import RunContext
from raykd.teachers.serving import parity
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

log = logging.getLogger(__name__)


def teacher_session(
    context: RunContext,
    teachers: Sequence[TeacherModel],
    train_ids: np.ndarray,
    overlap: bool = False,
    scored: Sequence[str] = SPLITS,
) -> TeacherSession:
    """A session for these rows of the training split and all rows of validation and, where there is one, test.

    Args:
        overlap: students train meanwhile.
        scored: the splits whose rows are asked for beside those of train.
    """
    specs = context.services(teachers, context.config.teachers, overlap)
    requests = {"train": TargetRequest(context.corpus.splits["train"], train_ids)}
    for name in [name for name in scored if name in context.corpus.ids]:
        subset = Subset.of(context.corpus, name)
        requests[name] = TargetRequest(subset.split, subset.ids)
    return context.session(specs, requests)


def store_targets(context: RunContext, teachers: Sequence[TeacherModel]) -> list[dict[str, Any]]:
    """The teachers' whole pass over the rows of a run, without its student; errors as for `compute_targets`.

    Returns:
        For each teacher the rows that are stored, those that were computed for this, and the replicas' seconds.
    """
    with teacher_session(context, teachers, target_rows(context.config, context.corpus)) as session:
        compute_targets(context, session, wait=True)
        rows = session.rows_wanted()
        costs = [served.cost for served in session.served]
    return [{"rows": rows, "rows_computed": cost.rows_computed, "seconds": cost.seconds} for cost in costs]


def rows_of_trials(context: RunContext) -> np.ndarray:
    """Ids of the training split whose soft targets any trial uses: of a quiz only the labels are."""
    return rows_of(context.corpus, [*student_signals(context.config), "reward"]).ids


def stored_sources(context: RunContext, teachers: Sequence[TeacherModel], ids: np.ndarray) -> list[TargetSource]:
    """Sources that read sealed tables, for teachers whose rows of the training split are all stored."""
    split, cache = context.corpus.splits["train"], str(context.config.cache_folder)
    return [TargetSource(teacher, split, cache, context.run, ids, None) for teacher in teachers]


def choose_overlap(context: RunContext) -> bool:
    """Whether the student trains while its teachers still compute, logged with the reason.

    On one machine without GPUs and endpoints both would share the cores, and neither would be done sooner: the pass
    comes first then.
    """
    configured, config = context.config.train.overlap, context.config
    apart = context.remote or any(not teacher.uses_cores for teacher in config.teachers)
    chosen = apart if configured is None else configured
    reason = "as configured" if configured is not None else "they run elsewhere" if apart else "all share these cores"
    log.info("teachers compute %s the student trains: %s", "while" if chosen else "before", reason)
    return chosen


def compute_targets(context: RunContext, session: TeacherSession, wait: bool, phase: str = "soft targets") -> float:
    """Starts the missing part of the teachers' pass and probes parity; returns the seconds taken.

    Args:
        wait: until all rows are stored.
        phase: its name in the log, where anything is missing.

    Raises:
        TeacherError: a teacher cannot answer, or answers otherwise than its checkpoint.
        Interrupted: stopped while waiting; finished rows are kept.
    """
    begun = time.time()
    session.start(context.metrics)
    served = [source for source in session.sources("train") if source.service is not None]
    if served:
        context.phase(phase)
        # Of an endpoint there is no checkpoint here to compare with.
        compared = [source for source in served if source.teacher.endpoint is None]
        for source in compared if context.config.parity_rows else []:
            gap = parity.probe(source, context.config.parity_rows)
            log.info("teacher %s: parity probe differs by %.1e", source.teacher.name, gap)
    if wait:
        session.wait(context.stop)
    return time.time() - begun

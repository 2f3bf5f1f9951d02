"""The driver of a study: one pass of the teachers, the search, the best ones over seeds, the best as a run's folder."""

from __future__ import annotations

import logging
import os
import shutil
import time
from typing import Any

from raykd.config import ModelTeacherConfig, RunConfig
from raykd.errors import ConfigError
from raykd.files import replacing_folder
from raykd.records.events import StudyPlanEvent, TrialEndedEvent, TrialStartedEvent
from raykd.records.predictions import FILE, STUDENT, read_predictions, teacher_arm
from raykd.records.run_result import TeacherResult
from raykd.records.study_result import StudyResult
from raykd.records.study_state import StudyState
from raykd.run.answers import add_predictions, checkpoint_logits, logits_on_test, scores_by_split
from raykd.run.context import RunContext
from raykd.run.trackers import check_trackers
from raykd.study import results, space, tuner
from raykd.study.shared import Shared, prepare
from raykd.study.trial import Setup, trial_folder
from raykd.training.job import Subset

log = logging.getLogger(__name__)


def run(context: RunContext) -> StudyResult:
    """A whole study; resumes where an earlier session in the same folder stopped.

    Args:
        context: its configuration is the study's, with the rows that all trials share (`space.shared_rows`).

    Raises:
        ConfigError: no point of the space is a valid configuration, or a tracker's package is missing.
        Interrupted: `context.stop` was set; running trials have saved checkpoints.
        RunError: no trial came to its end.
    """
    begun, config, study = time.time(), context.config, context.config.study
    assert study is not None
    points = _points(config)
    space.check(config, space.sample(config) if points is None else [point["params"] for point in points])
    check_trackers(config.trackers)
    shared = prepare(context)
    trials = len(points or []) or study.trials
    at_once = tuner.concurrency(config, trials, context.remote)
    context.metrics.write(
        StudyPlanEvent(metric=config.task.best_by, trials=trials, concurrency=at_once, keys=list(study.space))
    )
    setup = _setup(context, shared, at_once)
    context.phase("search")
    if points is not None and not setup.clones:  # PBT must have its whole population, and names its trials itself
        points = _valid(context, points)
    tuner.search(setup, points, context.stop)
    state = StudyState.read(context.folder.path)
    results.table(state, context.folder.path)
    repeated = [] if setup.clones else results.repetitions(state, config)
    if repeated:
        context.phase("the best over seeds")
        tuner.repeat(setup, repeated, context.stop)
        state = StudyState.read(context.folder.path)
        results.table(state, context.folder.path)
    choice = results.choose(state)
    tests = _keep_best(context, choice.run, shared)
    rows = len(context.corpus.ids["validation"])
    return results.study_result(state, choice, setup.config, shared, tests=tests, validation_rows=rows, begun=begun)


def _points(config: RunConfig) -> list[dict[str, Any]] | None:
    """The trials by name, where they are known ahead; None where Optuna suggests them."""
    assert config.study is not None
    if config.study.searcher.type == "optuna":
        return None
    points = space.grid(config) if config.study.searcher.type == "grid" else space.sample(config)
    if config.study.scheduler.type == "pbt":  # it copies a leader's settings whole, and a name is not to be copied
        return [{"params": params} for params in points]
    digits = max(2, len(str(len(points) - 1)))
    return [{"name": f"t{k:0{digits}d}", "params": params} for k, params in enumerate(points)]


def _valid(context: RunContext, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points whose values go together; the others are failed trials at once, and cost no process."""
    kept, known = [], StudyState.read(context.folder.path).all
    for point in points:
        try:
            space.trial_config(context.config, point["params"], point["name"])
            kept.append(point)
        except ConfigError as error:
            if point["name"] not in known:
                context.metrics.write(TrialStartedEvent(trial=point["name"], params=point["params"]))
                context.metrics.write(TrialEndedEvent(trial=point["name"], state="failed", reason=str(error)))
    return kept


def _setup(context: RunContext, shared: Shared, at_once: int) -> Setup:
    """What the trials share: threads for each, also for the teachers that a trial trains."""
    config, study = context.config, context.config.study
    assert study is not None
    train, cores = config.train, os.cpu_count() or 1
    threads = max(1, int(train.worker_cpus)) if context.remote else max(1, cores // (at_once * train.workers))
    teachers = [
        teacher.model_copy(update={"threads": teacher.threads or (None if context.remote else threads)})
        if isinstance(teacher, ModelTeacherConfig)
        else teacher
        for teacher in config.teachers
    ]
    config = config.model_copy(
        update={
            "cache": config.cache_folder,
            "study": study.model_copy(update={"concurrency": at_once}),
            "train": train.model_copy(update={"threads": train.threads or threads}),
            "teachers": teachers,
        }
    )
    return Setup(
        config=config,
        folder=context.folder.path,
        corpus=context.corpus,
        task=context.task,
        teachers=shared.teachers,
        entries=tuple(_as_reused(entry) for entry in shared.entries),
        remote=context.remote,
        clones=study.scheduler.type == "pbt",
    )


def _as_reused(entry: TeacherResult) -> TeacherResult:
    """What a teacher's rows cost a trial: nothing."""
    rows = entry.rows_computed + entry.rows_reused
    return entry.model_copy(update={"rows_computed": 0, "rows_reused": rows, "forwards": 0, "seconds": 0.0})


def _keep_best(context: RunContext, name: str, shared: Shared) -> dict[str, dict[str, float]]:
    """Copies a trial's folder to `best/`, as a run's, with the predictions of its teachers and those on the test split;
    other students are dropped, their numbers stay.

    Returns:
        Scores on the test split by arm, where there is one.
    """
    folder, corpus, task = context.folder.path, context.corpus, context.task
    best = folder / results.BEST
    if not best.exists():
        with replacing_folder(best) as draft:
            shutil.copytree(trial_folder(folder, name), draft, dirs_exist_ok=True)
    student, length = best / "student", context.config.data.max_length
    answers = {STUDENT: logits_on_test(student, corpus, length)}
    if (STUDENT, "validation") not in read_predictions(best):  # a trial of a version that kept none
        answers[STUDENT]["validation"] = checkpoint_logits(student, Subset.of(corpus, "validation"), length)
    for teacher, logits in zip(shared.teachers, shared.logits, strict=True):
        answers[teacher_arm(teacher.name, [])] = logits
    add_predictions(best / FILE, answers, corpus, task)
    for heavy in (*folder.glob("trials/*/student"), *folder.glob("trials/*/checkpoints"), folder / "starts"):
        shutil.rmtree(heavy, ignore_errors=True)
    scores = {arm: scores_by_split(logits, corpus, task) for arm, logits in answers.items()}
    return {arm: by_split["test"] for arm, by_split in scores.items() if "test" in by_split}

"""Bench `study` (docs/results.md): what trials save that share their teacher.

    raykd bench study --json        at most 8 minutes on 2 cores

N = 8 trials of one study (one pass of the teacher, then every trial on its sealed table, in a process of Ray Tune) ÷ 8
runs with a teacher and store of their own, one after the other, all with all cores. Both train N·E·S; the study needs
the teacher's T once, the runs N times, so nothing can be below (T + N·E·S) ÷ (N·T + N·E·S). To reach: at most 1.1
times that, and every row computed once. What a teacher in the loop would make of it, by T and S, is given beside it.

A pass counts as the seconds that the teacher computed, a student from its plan to its last evaluation, by the logs that
every run writes. The rest is taken off and given beside: of each trial but the first what lies between the last
evaluation of the one before and its own plan (result written, model loaded, latency measured; to reach 1.5 s), what a
study pays once (Tune, the trials' process, the teacher's service and its replica), and both together for each trial.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import threading
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from raykd import config as configuration
from raykd import runtime
from raykd.config import RunConfig
from raykd.data import order
from raykd.records.events import EvalEvent, PlanEvent
from raykd.records.log import MetricsLog, read_events
from raykd.run import driver as trainer
from raykd.run.context import RunContext, open_corpus
from raykd.run.folder import RunFolder
from raykd.study import driver
from raykd.teachers.local import LocalTeacher
from raykd.teachers.teacher_model import TeacherModel

from ._measure import median
from ._rounds import SECONDS, Rounds, add_options, to_limit
from ._stage import MAX_LENGTH, Shape, Stage, staged, untaught_teacher

log = logging.getLogger(__name__)
GOAL = 1.1
BETWEEN_GOAL_S = 1.5
"""From a trial's last evaluation to the next one's first step, with processes that are used again."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        threads: of torch; None for all cores.
        seconds: that the rounds may take.
    """

    student: Shape
    teacher: Shape
    rows: int
    trials: int
    epochs: int = 1
    threads: int | None = None
    seconds: float = SECONDS


FULL = Sizes(Shape(layers=2), Shape(layers=6), rows=192, trials=8)


@dataclass(frozen=True)
class _Spent:
    """Seconds of one way: teachers and students at work, everything else, and rows that the teachers computed.

    Attributes:
        between_s: of a study, from each trial's last evaluation to the plan of the next.
    """

    teachers_s: float
    students_s: float
    overhead_s: float
    rows: int
    between_s: tuple[float, ...] = ()

    @property
    def work_s(self) -> float:
        return self.teachers_s + self.students_s


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratio, limit, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench study", description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(args)
    return measure(replace(FULL, threads=options.threads, seconds=options.seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Alternates the study and the runs apart."""
    with staged(sizes.rows, sizes.student, sizes.teacher, sizes.threads) as stage:
        teacher = untaught_teacher(stage)
        shared: list[_Spent] = []
        apart: list[_Spent] = []
        ratios: list[float] = []
        passes: list[float] = []
        over_limit: list[float] = []
        with runtime.connected(_config(stage, teacher, sizes, 0)):
            rounds = Rounds(sizes.seconds)
            while rounds.go_on(over_limit):
                k = len(ratios)
                config = _config(stage, teacher, sizes, k)
                for study_turn in (True, False)[:: -1 if k % 2 else 1]:
                    if study_turn:
                        shared.append(_study(config, stage.folder / f"study-{k}"))
                    else:
                        apart.append(_apart(config, stage.folder / f"apart-{k}", sizes.trials))
                log.info("round %d: study %s, apart %s", k, shared[-1], apart[-1])
                passes.append(_pass(stage, teacher))
                ratios.append(shared[-1].work_s / apart[-1].work_s)
                over_limit.append(ratios[-1] / _limit(passes[-1], apart[-1].students_s, sizes.trials))
    n, teacher_s = sizes.trials, median(passes)
    student_s = median([each.students_s / n for each in apart])
    held = to_limit(over_limit, GOAL)
    rows = stage.rows + len(stage.subset("validation").ids)
    between = median([seconds for each in shared for seconds in each.between_s])
    return {
        "bench": "study",
        **held,
        "ratio": median(ratios),
        "limit": round(_limit(teacher_s, n * student_s, n), 4),
        "holds": held["holds"] and all(each.rows == rows for each in shared),
        "interval_holds": held["interval_holds"] and all(each.rows == rows for each in shared),
        "ratio_to_in_loop": round(_limit(teacher_s, n * student_s, n * sizes.epochs), 4),
        "rows_computed": [each.rows for each in shared],
        "rows_computed_apart": [each.rows for each in apart],
        "rows": rows,
        "between_trials_s": between,
        "between_trials_goal_s": BETWEEN_GOAL_S,
        "between_trials_holds": between <= BETWEEN_GOAL_S,
        "overhead_s_a_trial": median([each.overhead_s / n for each in shared]),
        "once_a_study_s": median([each.overhead_s - sum(each.between_s) for each in shared]),
        "overhead_s_a_run_apart": median([each.overhead_s / n for each in apart]),
        "study_s": median([each.work_s for each in shared]),
        "apart_s": median([each.work_s for each in apart]),
        "T_s": teacher_s,
        "S_s": student_s / sizes.epochs,
        "ratios_to_limit_of_rounds": [round(ratio, 4) for ratio in over_limit],
        "trials": n,
        "epochs": sizes.epochs,
        "threads": stage.worker.threads,
    }


def _limit(teacher_s: float, students_s: float, passes: int) -> float:
    """(T + N·E·S) ÷ (passes·T + N·E·S)."""
    return (teacher_s + students_s) / (passes * teacher_s + students_s)


def _config(stage: Stage, teacher: TeacherModel, sizes: Sizes, k: int) -> RunConfig:
    """The study; each round has a cache of its own, so that the one before has left it no soft targets."""
    temperatures = [1.0 + trial for trial in range(sizes.trials)]
    return configuration.parse(
        {
            "name": f"bench-{k}",
            "data": {"source": stage.config.data.source, "max_length": MAX_LENGTH},
            "student": {"from": str(stage.student)},
            "teachers": [{"name": "teacher", "model": teacher.folder, "threads": stage.worker.threads}],
            "train": {"epochs": sizes.epochs, "threads": stage.worker.threads},
            "study": {
                "space": {"objective.temperature": {"grid": temperatures}},
                "searcher": "grid",
                "scheduler": "none",
                "repeat": {"top_k": 0},
                "concurrency": 1,
            },
            "parity_rows": 0,
            "cache": str(stage.folder / f"cache-{k}"),
        }
    )


def _run_context(config: RunConfig, folder: Path) -> RunContext:
    folder.mkdir(parents=True)
    corpus, task = open_corpus(config)
    return RunContext(
        config, RunFolder(folder), corpus, task, False, threading.Event(), MetricsLog(folder / "metrics.jsonl")
    )  # fmt: skip


def _study(config: RunConfig, folder: Path) -> _Spent:
    begun = time.perf_counter()
    result = driver.run(_run_context(config, folder))
    seconds = time.perf_counter() - begun
    sharing = result.sharing
    spans = sorted(_training(path.parent) for path in folder.glob("trials/*/metrics.jsonl"))
    teachers, students = sharing.teacher_s, sum(end - begin for begin, end in spans)
    between = tuple(begin - end for (_, end), (begin, _) in pairwise(spans))
    return _Spent(teachers, students, seconds - teachers - students, sharing.rows_computed, between)


def _apart(config: RunConfig, folder: Path, runs: int) -> _Spent:
    teachers = students = 0.0
    rows, begun = 0, time.perf_counter()
    for k in range(runs):
        own = config.model_copy(update={"study": None, "cache": folder / f"cache-{k}"})
        result = trainer.distill(_run_context(own, folder / f"run-{k}"))
        (entry,) = result.teachers
        teachers += entry.seconds
        rows += entry.rows_computed
        begin, end = _training(folder / f"run-{k}")
        students += end - begin
    seconds = time.perf_counter() - begun
    shutil.rmtree(folder)
    return _Spent(teachers, students, seconds - teachers - students, rows)


def _training(folder: Path) -> tuple[float, float]:
    """The times of a training's plan and of its last evaluation."""
    events = read_events(folder / "metrics.jsonl")
    plan = next(event.time for event in events if isinstance(event, PlanEvent))
    return plan, max(event.time for event in events if isinstance(event, EvalEvent))


def _pass(stage: Stage, teacher: TeacherModel) -> float:
    """A plain forward over the rows in this process."""
    model, batch = LocalTeacher(teacher, stage.worker.device), stage.config.train.batch_size
    begun = time.perf_counter()
    for split in ("train", "validation"):
        request = stage.request(split)
        for k in range(-(-len(request.ids) // batch)):
            model.logits(request.split, order.batch(request.ids, k, batch))
    return time.perf_counter() - begun

"""Bench `study` (DESIGN section 6): what trials save that share their teacher.

    raykd bench study --json        about 6 minutes on 2 cores

N = 8 trials of one study (one pass of the teacher, then every trial on its sealed table, in a process of Ray Tune) ÷ 8
runs with a teacher and store of their own, one after the other, all with all cores. Both train N·E·S; the study needs
the teacher's T once, the runs N times, so nothing can be below (T + N·E·S) ÷ (N·T + N·E·S). To reach: at most 1.1
times that, and every row computed once. What a teacher in the loop would make of it, by T and S, stands beside.

A pass counts as the seconds that the teacher computed, a student from its plan to its last evaluation, by the logs that
every run writes. The rest (processes, models loaded, folders written) is start-up: taken off, and told for each trial.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from ._stage import MAX_LENGTH, Shape, Stage, staged, untaught_teacher

log = logging.getLogger(__name__)
GOAL = 1.1
OVERHEAD_GOAL_S = 1.5
"""Of each trial beside its training, with processes that are used again."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        rounds: studies, and sets of runs apart.
        threads: of torch; None for all cores.
    """

    student: Shape
    teacher: Shape
    rows: int
    trials: int
    epochs: int = 1
    rounds: int = 2
    threads: int | None = None


FULL = Sizes(Shape(layers=2), Shape(layers=6), rows=320, trials=8)


@dataclass(frozen=True)
class _Spent:
    """Seconds of one way: teachers and students at work, everything else, and rows that the teachers computed."""

    teachers_s: float
    students_s: float
    overhead_s: float
    rows: int

    @property
    def work_s(self) -> float:
        return self.teachers_s + self.students_s


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what the design asks of a bench: ratio, limit, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench study", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of torch; default all cores")
    return measure(replace(FULL, threads=parser.parse_args(args).threads))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Alternates the study and the runs apart."""
    with staged(sizes.rows, sizes.student, sizes.teacher, sizes.threads) as stage:
        teacher = untaught_teacher(stage)
        configs = [_config(stage, teacher, sizes, k) for k in range(sizes.rounds)]
        with runtime.connected(configs[0]):
            shared, apart = [], []
            for k, config in enumerate(configs):
                ways: list[Callable[[], None]] = [
                    lambda c=config, k=k: shared.append(_study(c, stage.folder / f"study-{k}")),  # type: ignore[misc]
                    lambda c=config, k=k: apart.append(_apart(c, stage.folder / f"apart-{k}", sizes.trials)),  # type: ignore[misc]
                ]
                for way in ways[:: -1 if k % 2 else 1]:
                    way()
                log.info("round %d: study %s, apart %s", k, shared[-1], apart[-1])
            teacher_s, student_s = _pass(stage, teacher), median([one.students_s / sizes.trials for one in apart])
    n, students = sizes.trials, sizes.trials * student_s
    limit = (teacher_s + students) / (n * teacher_s + students)
    in_loop = (teacher_s + students) / (n * sizes.epochs * teacher_s + students)
    ratios = [one.work_s / other.work_s for one, other in zip(shared, apart, strict=True)]
    rows = stage.rows + len(stage.signal("validation").ids)
    overhead = median([one.overhead_s / n for one in shared])
    return {
        "bench": "study",
        "ratio": median(ratios),
        "limit": limit,
        "ratio_to_limit": median(ratios) / limit,
        "goal": GOAL,
        "goal_is_for": "ratio_to_limit",
        "holds": median(ratios) / limit <= GOAL and all(one.rows == rows for one in shared),
        "ratio_to_in_loop": in_loop,
        "rows_computed": [one.rows for one in shared],
        "rows_computed_apart": [one.rows for one in apart],
        "rows": rows,
        "overhead_s_a_trial": overhead,
        "overhead_goal_s": OVERHEAD_GOAL_S,
        "overhead_holds": overhead <= OVERHEAD_GOAL_S,
        "overhead_s_a_run_apart": median([one.overhead_s / n for one in apart]),
        "study_s": median([one.work_s for one in shared]),
        "apart_s": median([one.work_s for one in apart]),
        "T_s": teacher_s,
        "S_s": student_s / sizes.epochs,
        "ratios": [round(ratio, 4) for ratio in ratios],
        "trials": n,
        "epochs": sizes.epochs,
        "threads": stage.worker.threads,
    }


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
    students = sum(_trained_s(path.parent) for path in folder.glob("trials/*/metrics.jsonl"))
    teachers = sharing.teacher_s
    return _Spent(teachers, students, seconds - teachers - students, sharing.rows_computed)


def _apart(config: RunConfig, folder: Path, runs: int) -> _Spent:
    teachers = students = 0.0
    rows, begun = 0, time.perf_counter()
    for k in range(runs):
        own = config.model_copy(update={"study": None, "cache": folder / f"cache-{k}"})
        result = trainer.distill(_run_context(own, folder / f"run-{k}"))
        (entry,) = result.teachers
        teachers += entry.seconds
        rows += entry.rows_computed
        students += _trained_s(folder / f"run-{k}")
    seconds = time.perf_counter() - begun
    shutil.rmtree(folder)
    return _Spent(teachers, students, seconds - teachers - students, rows)


def _trained_s(folder: Path) -> float:
    """From a training's plan to its last evaluation."""
    events = read_events(folder / "metrics.jsonl")
    plan = next(event.time for event in events if isinstance(event, PlanEvent))
    return max(event.time for event in events if isinstance(event, EvalEvent)) - plan


def _pass(stage: Stage, teacher: TeacherModel) -> float:
    """A plain forward over the rows in this process."""
    model, batch = LocalTeacher(teacher, stage.worker.device), stage.config.train.batch_size
    begun = time.perf_counter()
    for purpose in ("train", "validation"):
        wanted = stage.wanted(purpose)
        for k in range(-(-len(wanted.ids) // batch)):
            model.logits(wanted.split, order.batch(wanted.ids, k, batch))
    return time.perf_counter() - begun

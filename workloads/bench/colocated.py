"""Bench `colocated` (docs/results.md): what a teacher on the student's own cores costs, when each row is asked once.

    raykd bench colocated --json        at most 8 minutes on 2 cores

A whole run (the teacher's pass over the rows through its service, then E epochs on the sealed table) ÷ the same run
with the teacher called in the student's own loop, where each epoch asks it again. Both do the student's E·S; the first
needs the teacher's T once, the second E times, so nothing can be below (T + E·S) ÷ (E·T + E·S). To reach: at most 1.1
times that. T is a plain forward over the batches of an epoch in this process, S an epoch on a sealed table, evaluation
and checkpoint included as in the runs. All of them have all cores, since they take turns.

The clock starts when the models are loaded: the replica has answered the validation rows, the student (and in the loop
its teacher too) is in memory. The parity probe is left out: it is paid once a run, and mostly loads a model.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from raykd import runtime
from raykd.data import order
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.supervised import SupervisedStepFactory

from ._measure import median, teachers_pass, train, warm_service
from ._rounds import SECONDS, Rounds, add_options, to_limit
from ._stage import Shape, Stage, staged, untaught_teacher

log = logging.getLogger(__name__)
GOAL = 1.1
WARM_UP_STEPS = 10


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
    epochs: int
    threads: int | None = None
    seconds: float = SECONDS


SIZES = Sizes(Shape(layers=2), Shape(layers=6), rows=320, epochs=3)


@dataclass(frozen=True)
class _Round:
    """Seconds: the teacher's pass through its service, the run that follows it, the run with the teacher in its loop,
    and the T and S of both."""

    pass_s: float
    epochs_s: float
    in_loop_s: float
    teacher_s: float
    student_s: float

    @property
    def ratio(self) -> float:
        return (self.pass_s + self.epochs_s) / self.in_loop_s

    def limit(self, epochs: int) -> float:
        """(T + E·S) ÷ (E·T + E·S)."""
        students = epochs * self.student_s
        return (self.teacher_s + students) / (epochs * self.teacher_s + students)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratio, limit, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench colocated", description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(args)
    return measure(replace(SIZES, threads=options.threads, seconds=options.seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Alternates both kinds of run."""
    with staged(sizes.rows, sizes.student, sizes.teacher, sizes.threads) as stage, runtime.connected(stage.config):
        teacher = untaught_teacher(stage)
        train(stage.job("warm-up", SupervisedStepFactory(), max_steps=WARM_UP_STEPS), stage.worker)
        done: list[_Round] = []
        over_limit: list[float] = []
        rounds = Rounds(sizes.seconds)
        while rounds.go_on(over_limit):
            done.append(_round(stage, teacher, sizes.epochs, len(done)))
            over_limit.append(done[-1].ratio / done[-1].limit(sizes.epochs))
    return {
        "bench": "colocated",
        **to_limit(over_limit, GOAL),
        "ratio": median([each.ratio for each in done]),
        "limit": median([each.limit(sizes.epochs) for each in done]),
        "whole_s": median([each.pass_s + each.epochs_s for each in done]),
        "in_loop_s": median([each.in_loop_s for each in done]),
        "pass_s": median([each.pass_s for each in done]),
        "T_s": median([each.teacher_s for each in done]),
        "S_s": median([each.student_s for each in done]),
        "ratios_to_limit_of_rounds": [round(ratio, 4) for ratio in over_limit],
        "epochs": sizes.epochs,
        "rows": sizes.rows,
        "threads": stage.worker.threads,
    }


def _round(stage: Stage, teacher: TeacherModel, epochs: int, k: int) -> _Round:
    """Both runs and what bounds them; every other round in the other order."""
    # Another identity, so that the round before has left it no soft targets.
    teacher = replace(teacher, weights=f"{teacher.weights}-{k}")
    spec = service_spec(teacher, stage.config.teachers[0], stage.cache, stage.worker.threads, lease_s=None)
    in_loop = 0.0
    if k % 2:
        in_loop = _in_loop(stage, _source(stage, teacher), epochs, k)
    with warm_service(stage, spec) as serving:
        pass_s = teachers_pass(stage, serving)
        (source,) = serving.sources("train")
        stored = train(stage.job(f"whole-{k}", stage.distil(source), epochs=epochs), stage.worker)
    student_s = train(stage.job(f"epoch-{k}", stage.distil(source), epochs=1), stage.worker).seconds
    teacher_s = _local_pass(stage, teacher)
    if not k % 2:
        in_loop = _in_loop(stage, source, epochs, k)
    done = _Round(pass_s, stored.seconds, in_loop, teacher_s, student_s)
    seconds = {name: round(value, 2) for name, value in vars(done).items()}
    log.info("round %d: %s", k, seconds)
    return done


def _in_loop(stage: Stage, source: TargetSource, epochs: int, k: int) -> float:
    """Opening is loading the teacher here, which the clock leaves out."""
    step = stage.distil(source, in_loop=True)
    return train(stage.job(f"in-loop-{k}", step, epochs=epochs), stage.worker).training_s


def _local_pass(stage: Stage, teacher: TeacherModel) -> float:
    model, request = LocalTeacher(teacher, stage.worker.device), stage.request("train")
    begun = time.perf_counter()
    for k in range(stage.steps_an_epoch):
        model.logits(request.split, order.batch(request.ids, k, stage.config.train.batch_size))
    return time.perf_counter() - begun


def _source(stage: Stage, teacher: TeacherModel) -> TargetSource:
    request = stage.request("train")
    return TargetSource(teacher, request.split, str(stage.cache), "bench", request.ids, service=None)

"""Bench `feedback` (docs/results.md): a MetaDistil round over the service against one graph through both models.

    raykd bench feedback --json         at most 8 minutes on 2 cores, and the memory

A round is all that a step with feedback does: the teacher's forward pass, pilot, quiz, cotangent, the teacher's
backward pass and step, its fresh targets, the student's real step. raykd's rounds run with the teacher in its own
process, by each route; `double` has both models in one process and takes the same gradient by `create_graph`. Same
batches, masks and quizzes, so the students stay equal. Not in it: the measurement of signal and noise, which a run
makes in one round of ten. Counted in forward passes, for models of one size, a round costs 13 and double backward 15.5:
the limit is 0.84, nearer to 1 for a smaller student. To reach, by the route that `auto` takes: 1.05 times the limit in
seconds, 0.6 of the memory.

Memory is that of the student's process, the largest above what is resident when the models are loaded, each way in a
fresh process; the sum with the teacher's process is given beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch

from raykd import runtime
from raykd.config import MetaDistilConfig
from raykd.feedback import cotangent
from raykd.feedback.cotangent_feedback import CotangentFeedback
from raykd.student.factory import DistillStepFactory, FeedbackSetup
from raykd.student.step import DistillStep
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.replica import ActorResources
from raykd.training.job import StepFactory

from . import _memory
from ._double_backward import DoubleBackward
from ._measure import NEVER, Blocks, median
from ._rounds import FEWEST_STEPS, SECONDS, Rounds, add_options, summary
from ._stage import Shape, Stage, all_threads, staged, untaught_teacher

log = logging.getLogger(__name__)
OVER_LIMIT, MEMORY_GOAL = 1.05, 0.6
TEACHER_PASSES, STUDENT_PASSES, STUDENT_PASSES_DOUBLE = 4.0, 9.0, 11.5
"""Forward passes that a round costs, a backward pass counted as two. The teacher's: forward, backward, fresh targets.
The student's: pilot 3, quiz 3, its difference step 1 and the backward pass of the real step 2; with double backward
pilot 3, quiz 3, the second backward 2.5 and a whole real step 3."""
QUIZ = 0.25
ROUTES = ("forward", "central", "one_sided")
DOUBLE = "double"
WARM_UP = 1
TEACHER_LR = 5e-6
MEMORY_ROUNDS = 3


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        students: one after the other; memory is measured for the last.
        threads: of torch; None for all cores.
        seconds: that the alternation may take, for all students together.
    """

    students: tuple[Shape, ...]
    teacher: Shape
    rows: int
    threads: int | None = None
    seconds: float = SECONDS


SIZES = Sizes((Shape(layers=2), Shape(layers=6)), Shape(layers=6), rows=512)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratios, goals, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench feedback", description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(args)
    return measure(replace(SIZES, threads=options.threads, seconds=options.seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Seconds of each student, then memory of the last."""
    auto, reason = cotangent.choose_route("auto", torch.float32, torch.device("cpu"))
    seconds: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    wire: dict[str, int] = {}
    limits: dict[str, float] = {}
    for student in sizes.students:
        name = f"{student.layers}_layers"
        times, wire[name] = _seconds(sizes, student, auto)
        seconds[name] = {way: median(values) for way, values in times.items()}
        limits[name] = limit(student, sizes.teacher)
        routes[name] = {route: summary(_ratios(times, route), OVER_LIMIT * limits[name]) for route in ROUTES}
    memory = {way: _in_fresh_process(sizes, way) for way in (DOUBLE, *ROUTES)}
    memory_ratio = round(memory[auto]["student_mb"] / memory[DOUBLE]["student_mb"], 4)
    of_auto = {f"seconds_{name}": each[auto] for name, each in routes.items()}
    return {
        "bench": "feedback",
        "ratios": {key: each["ratio"] for key, each in of_auto.items()} | {f"memory_{name}": memory_ratio},
        "goals": {key: each["goal"] for key, each in of_auto.items()} | {f"memory_{name}": MEMORY_GOAL},
        "holds": {key: each["holds"] for key, each in of_auto.items()}
        | {f"memory_{name}": memory_ratio <= MEMORY_GOAL},
        "intervals": {key: each["interval"] for key, each in of_auto.items()},
        "interval_holds": {key: each["interval_holds"] for key, each in of_auto.items()},
        "settled": {key: each["settled"] for key, each in of_auto.items()},
        "rounds": {key: each["rounds"] for key, each in of_auto.items()},
        "limits": {name: round(each, 4) for name, each in limits.items()},
        "route": auto,
        "route_reason": reason,
        "seconds_by_route": routes,
        "seconds_a_round": seconds,
        "peak_memory": memory,
        "memory_with_teacher_ratio": round(sum(memory[auto].values()) / sum(memory[DOUBLE].values()), 4),
        "wire_bytes_a_round": wire,
        "threads": all_threads(sizes.threads),
        "teacher_layers": sizes.teacher.layers,
    }


def limit(student: Shape, teacher: Shape) -> float:
    """Of a round's seconds ÷ double backward's, by counting passes of models of one width."""
    teachers = TEACHER_PASSES * teacher.layers
    return (teachers + STUDENT_PASSES * student.layers) / (teachers + STUDENT_PASSES_DOUBLE * student.layers)


def _ratios(times: dict[str, list[float]], route: str) -> list[float]:
    return [cotangents / double for cotangents, double in zip(times[route], times[DOUBLE], strict=True)]


def _seconds(sizes: Sizes, student: Shape, auto: str) -> tuple[dict[str, list[float]], int]:
    """Seconds of each round, by way, until the ratio of the route `auto` is settled, and the bytes on the wire."""
    with staged(sizes.rows, student, sizes.teacher, sizes.threads, QUIZ) as stage, runtime.connected(stage.config):
        source = _source(stage)
        times: dict[str, list[float]] = {way: [] for way in (DOUBLE, *ROUTES)}
        with contextlib.ExitStack() as stack:
            arms = {way: stack.enter_context(_blocks(stage, source, way, 1)) for way in times}
            for _ in range(WARM_UP):
                for arm in arms.values():
                    arm.seconds_per_step()
            rounds = Rounds(sizes.seconds / len(sizes.students), FEWEST_STEPS)
            while rounds.go_on(_ratios(times, auto)):
                # Turn and turn about: what slows the machine down for a while slows all.
                for way in sorted(arms, reverse=bool(len(times[DOUBLE]) % 2)):
                    times[way].append(arms[way].seconds_per_step())
            wire = _wire_bytes(arms[ROUTES[0]])
        return times, wire


def _wire_bytes(blocks: Blocks) -> int:
    step = blocks.step
    assert isinstance(step, DistillStep)
    assert isinstance(step.feedback, CotangentFeedback)
    return round(step.feedback.tally.wire_bytes / step.feedback.tally.rounds)


@contextlib.contextmanager
def _blocks(stage: Stage, source: TargetSource, way: str, block: int) -> Iterator[Blocks]:
    blocks = Blocks(stage, way, _step(stage, source, way), block)
    try:
        yield blocks
    finally:
        blocks.close()


def _step(stage: Stage, source: TargetSource, way: str) -> StepFactory:
    config, quiz = stage.config, stage.subset("quiz")
    route = "auto" if way == DOUBLE else way
    feedback = MetaDistilConfig.model_validate(
        {"type": "metadistil", "route": route, "measure_every": NEVER, "teacher_lr": TEACHER_LR}
    )
    if way == DOUBLE:
        return DoubleBackward(source, config.objective, config.weighting, feedback, quiz)
    # They take turns, so both have all cores.
    actor_resources = ActorResources(num_cpus=0, num_gpus=0, threads=stage.worker.threads, resources={}, node_labels={})
    return DistillStepFactory(
        (source,), config.objective, config.weighting, feedback_setup=FeedbackSetup(feedback, (actor_resources,), quiz)
    )


def _source(stage: Stage) -> TargetSource:
    """The frozen teacher's soft targets, as a finished pass leaves them; the one that learns begins with them."""
    teacher, train = untaught_teacher(stage), stage.subset("train")
    local = LocalTeacher(teacher, stage.worker.device)
    store = teacher.store(stage.cache, train.split.texts)
    store.append(train.ids, np.concatenate([local.logits(train.split, ids) for ids in np.array_split(train.ids, 16)]))
    store.seal()
    return TargetSource(teacher, train.split, str(stage.cache), "bench", train.ids, service=None)


def _in_fresh_process(sizes: Sizes, way: str) -> dict[str, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        peaks = pool.submit(_peaks, sizes, way).result()
    log.info("memory, %s: %s", way, peaks)
    return peaks


def _peaks(sizes: Sizes, way: str) -> dict[str, float]:
    """MB above what is resident with the models loaded, of the student's process and of the teacher's own."""
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(staged(sizes.rows, sizes.students[-1], sizes.teacher, sizes.threads, QUIZ))
        stack.enter_context(runtime.connected(stage.config))
        source = _source(stage)
        blocks = stack.enter_context(_blocks(stage, source, way, MEMORY_ROUNDS))
        teachers = [ray.get_actor(**named) for named in ray.util.list_named_actors(all_namespaces=True)]
        before = [_memory.mark(), *ray.get([actor.__ray_call__.remote(_memory.mark) for actor in teachers])]
        blocks.seconds_per_step()
        after = [_memory.peak(), *ray.get([actor.__ray_call__.remote(_memory.peak) for actor in teachers])]
    rises = [round(end - begun, 1) for end, begun in zip(after, before, strict=True)]
    return {"student_mb": rises[0], "teacher_mb": sum(rises[1:])}

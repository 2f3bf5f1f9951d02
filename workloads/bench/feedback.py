"""Bench `feedback` (docs/results.md): a MetaDistil round over the service against one graph through both models.

    raykd bench feedback --json         about 10 minutes on 2 cores

A round is all that a step with feedback does: the teacher's forward pass, pilot, quiz, cotangent, the teacher's
backward pass and step, its fresh targets, the student's real step. raykd's rounds run with the teacher in its own
process, by each route; `double` has both models in one process and takes the same gradient by `create_graph`. Same
batches, masks and quizzes, so the students stay equal. Not in it: the measurement of signal and noise, which a run
makes in one round of ten. To reach, by the route that `auto` takes: 0.8 of the seconds, 0.6 of the memory.

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
from raykd.teachers.serving.store import Store
from raykd.training.job import StepFactory

from . import _memory
from ._double_backward import DoubleBackward
from ._measure import NEVER, Blocks, median
from ._stage import Shape, Stage, all_threads, staged, untaught_teacher

log = logging.getLogger(__name__)
SECONDS_GOAL, MEMORY_GOAL = 0.8, 0.6
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
        pairs: blocks of each way.
        block: rounds of a block.
        threads: of torch; None for all cores.
    """

    students: tuple[Shape, ...]
    teacher: Shape
    rows: int
    pairs: int
    block: int
    threads: int | None = None


SIZES = Sizes((Shape(layers=2), Shape(layers=6)), Shape(layers=6), rows=512, pairs=6, block=2)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratios, goals, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench feedback", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of torch; default all cores")
    return measure(replace(SIZES, threads=parser.parse_args(args).threads))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Seconds of each student, then memory of the last."""
    auto, reason = cotangent.choose_route("auto", torch.float32, torch.device("cpu"))
    ratios, goals, seconds, wire = {}, {}, {}, {}
    for student in sizes.students:
        name = f"{student.layers}_layers"
        blocks, wire[name] = _seconds(sizes, student)
        seconds[name] = {way: median(times) for way, times in blocks.items()}
        for route in ROUTES:
            pairs = zip(blocks[route], blocks[DOUBLE], strict=True)
            seconds[name][f"{route}_ratio"] = median([cotangents / double for cotangents, double in pairs])
        ratios[f"seconds_{name}"], goals[f"seconds_{name}"] = seconds[name][f"{auto}_ratio"], SECONDS_GOAL
    memory = {way: _in_fresh_process(sizes, way) for way in (DOUBLE, *ROUTES)}
    double = memory[DOUBLE]["student_mb"]
    ratios[f"memory_{name}"], goals[f"memory_{name}"] = round(memory[auto]["student_mb"] / double, 4), MEMORY_GOAL
    return {
        "bench": "feedback",
        "ratios": ratios,
        "goals": goals,
        "holds": {key: ratio <= goals[key] for key, ratio in ratios.items()},
        "route": auto,
        "route_reason": reason,
        "seconds_a_round": seconds,
        "peak_memory": memory,
        "memory_with_teacher_ratio": round(sum(memory[auto].values()) / sum(memory[DOUBLE].values()), 4),
        "wire_bytes_a_round": wire,
        "pairs": sizes.pairs,
        "threads": all_threads(sizes.threads),
        "teacher_layers": sizes.teacher.layers,
    }


def _seconds(sizes: Sizes, student: Shape) -> tuple[dict[str, list[float]], int]:
    """Seconds a round of each block, by way, and the bytes on the wire of one."""
    with staged(sizes.rows, student, sizes.teacher, sizes.threads, QUIZ) as stage, runtime.connected(stage.config):
        source = _source(stage)
        seconds: dict[str, list[float]] = {way: [] for way in (DOUBLE, *ROUTES)}
        with contextlib.ExitStack() as stack:
            arms = {way: stack.enter_context(_blocks(stage, source, way, sizes.block)) for way in seconds}
            for k in range(WARM_UP + sizes.pairs):
                # Turn and turn about: what slows the machine down for a while slows all.
                for way in sorted(arms, reverse=bool(k % 2)):
                    seconds[way].append(arms[way].seconds_per_step())
                log.info("block %d: %s", k, {way: round(times[-1], 3) for way, times in seconds.items()})
            wire = _wire_bytes(arms[ROUTES[0]])
        return {way: times[WARM_UP:] for way, times in seconds.items()}, wire


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
    store = Store(stage.cache, teacher.address(train.split.texts), teacher.classes, teacher.wire)
    store.seal(train.ids, np.concatenate([local.logits(train.split, ids) for ids in np.array_split(train.ids, 16)]))
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

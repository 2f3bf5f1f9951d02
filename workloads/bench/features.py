"""Bench `features` (docs/results.md): what matching a teacher's inner outputs costs a student's step.

    raykd bench features --json          at most 8 minutes on 2 cores

A student of 2 layers, 384 wide, batches of 32 rows of at most 64 tokens; a teacher of 6 layers; the terms hidden and
attention on both of the student's layers. Three figures:

step: a step with the features at hand ÷ the same step on logits alone, to reach 1.25. Both read sealed tables, in turn,
through the loop of a real run.

recomputed: a step whose features a replica on the same cores computes whenever they are asked for ÷ (the teacher's
forward pass for these rows + a step with them at hand), to reach 1.10.

memory: the peak that a step with features adds to one without, in a fresh process each, ÷ what its tensors count, to
reach 1.15.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray

from raykd import runtime
from raykd.config import FeaturesConfig
from raykd.run.features import feature_teacher, make_feature_plan, shape_of
from raykd.student.factory import DistillStepFactory
from raykd.student.features import FeatureSource
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.session import NO_IDS
from raykd.teachers.serving.values import concatenate
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Step

from . import _memory
from ._measure import Blocks, median
from ._rounds import FEWEST_STEPS, SECONDS, Rounds, add_options, summary
from ._stage import MAX_LENGTH, SEED, Shape, Stage, all_threads, staged, untaught_teacher
from ._tables import sealed_source

log = logging.getLogger(__name__)
STEP_GOAL, RECOMPUTED_GOAL, MEMORY_GOAL = 1.25, 1.10, 1.15
ARMS = ("logits", "features")
SETTINGS = FeaturesConfig.model_validate({"hidden": 1, "attention": 1})
FLOAT_MB = 4 / 2**20
SETTLE_S = 0.005


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        block: steps of a block.
        threads: of torch; None for all cores.
        seconds: that the rounds may take, of both ratios together.
    """

    student: Shape
    teacher: Shape
    rows: int
    block: int = 2
    threads: int | None = None
    seconds: float = SECONDS


SIZES = Sizes(Shape(layers=2), Shape(layers=6), rows=256)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratios, goals, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench features", description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(args)
    return measure(replace(SIZES, threads=options.threads, seconds=options.seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """All three figures."""
    memory = {arm: _in_fresh_process(sizes, arm) for arm in ARMS}
    counted = _counted_mb(sizes)
    added = round((memory["features"] - memory["logits"]) / counted, 4)
    with staged(sizes.rows, sizes.student, sizes.teacher, sizes.threads) as stage, runtime.connected(stage.config):
        teacher = untaught_teacher(stage)
        stored = _stored(stage, teacher)
        seconds, step = _step(stage, stored, sizes)
        more, recomputed = _recomputed(stage, stored, teacher, sizes)
    return {
        "bench": "features",
        "ratios": {"step": step["ratio"], "recomputed": recomputed["ratio"], "memory": added},
        "goals": {"step": STEP_GOAL, "recomputed": RECOMPUTED_GOAL, "memory": MEMORY_GOAL},
        "holds": {"step": step["holds"], "recomputed": recomputed["holds"], "memory": added <= MEMORY_GOAL},
        "intervals": {"step": step["interval"], "recomputed": recomputed["interval"]},
        "settled": {"step": step["settled"], "recomputed": recomputed["settled"]},
        "rounds": {"step": step["rounds"], "recomputed": recomputed["rounds"]},
        "seconds_a_step": {**seconds, **more},
        "peak_memory_mb": memory,
        "counted_mb": round(counted, 1),
        "threads": all_threads(sizes.threads),
    }


def _step(stage: Stage, stored: FeatureSource, sizes: Sizes) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds by arm, and the ratio of steps with features at hand to steps on logits alone."""
    arms = {arm: Blocks(stage, arm, _factory(stage, stored if arm == "features" else None), sizes.block)
            for arm in ARMS}  # fmt: skip
    _warm(stage, arms, sizes)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    ratios: list[float] = []
    rounds = Rounds(sizes.seconds / 2, FEWEST_STEPS)
    while rounds.go_on(ratios):
        # First one arm, then the other: what slows the machine down for a while slows both.
        for name in sorted(arms, reverse=bool(len(ratios) % 2)):
            seconds[name].append(arms[name].seconds_per_step())
        ratios.append(seconds["features"][-1] / seconds["logits"][-1])
    return {name: median(each) for name, each in seconds.items()}, summary(ratios, STEP_GOAL)


def _recomputed(
    stage: Stage, stored: FeatureSource, teacher: TeacherModel, sizes: Sizes
) -> tuple[dict[str, float], dict[str, Any]]:
    """The same for steps whose features a replica computes, against the forward pass and the step one after the other.

    The blocks end with some steps' features asked for and not used: each block makes as many forward passes as steps.
    Its clock goes on until the replica has made them, which would else slow down the other arms.
    """
    local = LocalTeacher(stored.source.teacher, stage.worker.device)
    request, batch = stage.request("train"), stage.config.train.batch_size
    with _unstored(stage, stored) as (source, service):

        def settle(_: Step) -> None:
            while cast(dict[str, Any], ray.get(service.status.remote()))["in_flight"]:
                time.sleep(SETTLE_S)

        arms = {"recomputed": Blocks(stage, "recomputed", _factory(stage, source), sizes.block, settle=settle),
                "at hand": Blocks(stage, "at hand", _factory(stage, stored), sizes.block)}  # fmt: skip
        _warm(stage, arms, sizes)
        seconds: dict[str, list[float]] = {"recomputed": [], "at hand": [], "forward": []}
        ratios: list[float] = []
        rounds = Rounds(sizes.seconds / 2, FEWEST_STEPS)
        while rounds.go_on(ratios):
            for name in arms:
                seconds[name].append(arms[name].seconds_per_step())
            begun = time.perf_counter()
            for k in range(sizes.block):
                ids = np.take(request.ids, range(k * batch, (k + 1) * batch), mode="wrap")
                local.answer(request.split, ids)
            seconds["forward"].append((time.perf_counter() - begun) / sizes.block)
            ratios.append(seconds["recomputed"][-1] / (seconds["at hand"][-1] + seconds["forward"][-1]))
        for arm in arms.values():
            arm.close()
    return {name: median(each) for name, each in seconds.items()}, summary(ratios, RECOMPUTED_GOAL)


def _warm(stage: Stage, arms: dict[str, Blocks], sizes: Sizes) -> None:
    """An epoch each beforehand: later ones find every row tokenised."""
    for arm in arms.values():
        for _ in range(-(-stage.steps_an_epoch // sizes.block)):
            arm.seconds_per_step()


def _factory(stage: Stage, features: FeatureSource | None) -> DistillStepFactory:
    return replace(stage.distil(sealed_source(stage, "sealed")), features=features)


def _stored(stage: Stage, teacher: TeacherModel) -> FeatureSource:
    """The teacher's features of all training rows in a sealed table."""
    plan = make_feature_plan(SETTINGS, shape_of(stage.student), shape_of(Path(teacher.folder)), SEED)
    inner, train = feature_teacher(teacher, plan), stage.subset("train")
    local = LocalTeacher(inner, stage.worker.device)
    parts = [local.answer(train.split, ids) for ids in np.array_split(train.ids, max(1, len(train.ids) // 32))]
    store = inner.store(stage.cache, train.split.texts)
    store.append(train.ids, concatenate(parts))
    store.seal()
    return FeatureSource(TargetSource(inner, train.split, str(stage.cache), "bench", train.ids, None), plan, SETTINGS)


@contextlib.contextmanager
def _unstored(stage: Stage, stored: FeatureSource) -> Iterator[tuple[FeatureSource, Any]]:
    """The same features from a service that remembers those of a few batches, and that service."""
    spec = service_spec(
        stored.source.teacher, stage.config.teachers[0], stage.cache, threads=stage.worker.threads, lease_s=None
    )
    table = stored.source.teacher.store(stage.cache, stored.source.split.texts).sealed()
    assert table is not None
    asked_ahead = (stage.config.train.prefetch + 1) / stage.steps_an_epoch  # kept, as a run keeps them, and no more
    spec = replace(spec, keep_bytes=int(asked_ahead * table.values.nbytes))
    service = connect(spec)  # it lives as long as this handle
    yield replace(stored, source=replace(stored.source, wanted=NO_IDS, service=spec)), service
    del service


def _counted_mb(sizes: Sizes) -> float:
    """Of the tensors that features add to a step at their largest: the teacher's columns in single precision, the
    student's scores, and of each term the difference that its gradient needs, once more while it is taken."""
    rows, tokens, heads = 32, MAX_LENGTH, sizes.student.heads
    hidden = rows * tokens * sizes.student.width * FLOAT_MB
    scores = rows * heads * tokens * tokens * FLOAT_MB
    return sizes.student.layers * (2 * hidden + 3 * scores) + max(hidden, scores)


def _in_fresh_process(sizes: Sizes, arm: str) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        risen = pool.submit(_peak, sizes, arm).result()
    log.info("memory, %s: %.1f MB", arm, risen)
    return risen


def _peak(sizes: Sizes, arm: str) -> float:
    """MB that a step rises above what is resident after one step, when optimizer and rows are there."""
    with staged(sizes.rows, sizes.student, sizes.teacher, sizes.threads) as stage:
        stored = _stored(stage, untaught_teacher(stage)) if arm == "features" else None
        blocks = Blocks(stage, arm, _factory(stage, stored), 1)
        blocks.seconds_per_step()
        before = _memory.mark()
        for _ in range(3):
            blocks.seconds_per_step()
        return round(_memory.peak() - before, 1)

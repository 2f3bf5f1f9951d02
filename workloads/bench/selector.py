"""Bench `selector` (docs/results.md): what a policy that picks the teachers costs its student.

    raykd bench selector --json          about 5 minutes on 2 cores

Mean step of a student whose teachers are chosen by the policy at its defaults ÷ of the same student on uniform
weights, to reach 1.05; the cost with every step rewarded is given too. Three teachers with sealed soft targets and
sentence vectors as wide as the student, 2 layers, 384 wide, batch 32. Blocks of steps are trained in turn through the
loop of a real run; a block is as long as the time between two rewarded steps, so that each has one.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace
from typing import Any

from raykd import runtime
from raykd.config import PolicyConfig, RewardConfig, UniformConfig, WeightingConfig
from raykd.student.factory import DistillStepFactory, WeightingSources

from ._measure import Blocks, median
from ._stage import Shape, Stage, staged
from ._tables import nobody, sealed_source, table

log = logging.getLogger(__name__)
GOAL = 1.05
TEACHERS = 3
LEAST_STEP_S = 0.05
"""The ratio of steps shorter than this says little: beside them anything is expensive."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        rounds: blocks of each kind.
        threads: of torch; None for all cores.
    """

    student: Shape
    rows: int
    rounds: int
    threads: int | None = None


FULL = Sizes(Shape(layers=2), rows=256, rounds=12)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratio, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench selector", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of torch; default all cores")
    return measure(replace(FULL, threads=parser.parse_args(args).threads))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Uniform weights, the policy at its defaults, and rewarded at every step."""
    usual = PolicyConfig()
    weightings: dict[str, WeightingConfig] = {
        "uniform": UniformConfig(),
        "policy": usual,
        "every step": usual.model_copy(update={"reward": RewardConfig(every=1)}),
    }
    with staged(sizes.rows, sizes.student, sizes.student, sizes.threads) as stage, runtime.connected(stage.config):
        block = usual.reward.every
        arms = {name: Blocks(stage, name, _step(stage, weighting), block) for name, weighting in weightings.items()}
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        warm_up = 1 + -(-stage.steps_an_epoch // block)
        for k in range(warm_up + sizes.rounds):
            for name in sorted(arms, reverse=bool(k % 2)):
                seconds[name].append(arms[name].seconds_per_step())
            log.info("block %d: %s", k, {name: round(spent[-1], 4) for name, spent in seconds.items()})
        for arm in arms.values():
            arm.close()
        threads, batch_size = stage.worker.threads, stage.config.train.batch_size
    plain, policy, every = (seconds[name][warm_up:] for name in weightings)
    ratios = [chosen / equal for chosen, equal in zip(policy, plain, strict=True)]
    return {
        "bench": "selector",
        "ratio": median(ratios),
        "goal": GOAL,
        "holds": median(ratios) <= GOAL and median(plain) >= LEAST_STEP_S,
        "ratio_every_step": median([chosen / equal for chosen, equal in zip(every, plain, strict=True)]),
        "uniform_step_s": median(plain),
        "policy_step_s": median(policy),
        "ratios_of_pairs": [round(ratio, 4) for ratio in ratios],
        "threads": threads,
        "batch_size": batch_size,
        "teachers": TEACHERS,
    }


def _step(stage: Stage, weighting: WeightingConfig) -> DistillStepFactory:
    sources = tuple(sealed_source(stage, f"teacher{k}") for k in range(TEACHERS))
    width = stage.config.student.hidden_size
    assert width is not None
    encoder = replace(nobody(stage, "sentences"), columns=tuple(range(width)), labels=(), output="pooled")
    weighting_inputs = WeightingSources("bench", sentences=table(stage, encoder))
    return DistillStepFactory(sources, stage.config.objective, weighting, weighting_inputs=weighting_inputs)

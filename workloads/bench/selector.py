"""Bench `selector` (docs/results.md): what a policy that picks the teachers costs its student.

    raykd bench selector --json          at most 8 minutes on 2 cores

Mean step of a student whose teachers are chosen by the policy at its defaults ÷ of the same student on uniform weights,
for the rewards r1 and influence; the cost with every step rewarded is given too. A rewarded step needs at least one
more forward pass of the student (r1), or that and a forward and backward pass over n rows of the reward split
(influence), of three that a step costs: no ratio can be below 1 + 1 ÷ (3 every), or 1 + (1 + 3 n ÷ B) ÷ (3 every) for
batches of B. To reach: 1.03 times that. With feedback by MetaDistil influence would take derivative and quiz from it;
no arm has feedback here. Three teachers with sealed soft targets and sentence vectors as wide as the student, 2 layers,
192 wide, batch 32.

Blocks of steps are trained in turn through the loop of a real run. A block begins with a rewarded step and is as long
as the time to the next: the policy's update, in another process, falls into its own student's block, and the clock
waits for it at the end. Where every step is rewarded, a run would go on during the last update of a block, so that
figure is a little too high.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

from raykd import runtime
from raykd.config import PolicyConfig, RewardConfig, UniformConfig, WeightingConfig
from raykd.student.factory import DistillStepFactory, WeightingSources
from raykd.student.step import DistillStep
from raykd.training.job import Step
from raykd.weighting.policy.weighting import PolicyWeighting

from ._measure import Blocks, median
from ._rounds import FEWEST_STEPS, SECONDS, Rounds, add_options, to_limit
from ._stage import Shape, Stage, staged
from ._tables import nobody, sealed_source, table

log = logging.getLogger(__name__)
GOAL = 1.03
REWARDS: tuple[Literal["r1", "influence"], ...] = ("r1", "influence")
REWARD_SHARE = 0.25
TEACHERS = 3
LEAST_STEP_S = 0.05
"""The ratio of steps shorter than this says little: beside them anything is expensive."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        threads: of torch; None for all cores.
        seconds: that the rounds may take.
    """

    student: Shape
    rows: int
    threads: int | None = None
    seconds: float = SECONDS


FULL = Sizes(Shape(layers=2, width=192, heads=6), rows=384)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratio, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench selector", description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(args)
    return measure(replace(FULL, threads=options.threads, seconds=options.seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Uniform weights, the policy at its defaults with each reward, and rewarded at every step."""
    weightings: dict[str, WeightingConfig] = {"uniform": UniformConfig()}
    for reward in REWARDS:
        weightings[reward] = PolicyConfig(reward=RewardConfig(type=reward))
        weightings[f"{reward} every step"] = PolicyConfig(reward=RewardConfig(type=reward, every=1))
    usual = RewardConfig()
    shapes = (sizes.student, sizes.student)
    with staged(sizes.rows, *shapes, sizes.threads, REWARD_SHARE) as stage, runtime.connected(stage.config):
        arms = {
            name: Blocks(stage, name, _step(stage, each), usual.every, first=usual.every - 1, settle=_updated)
            for name, each in weightings.items()
        }
        for arm in arms.values():
            for _ in range(1 + -(-stage.steps_an_epoch // usual.every)):
                arm.seconds_per_step()
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        rounds = Rounds(sizes.seconds, FEWEST_STEPS)
        while rounds.go_on(*(_ratios(seconds, reward) for reward in REWARDS)):
            for name in sorted(arms, reverse=bool(len(seconds["uniform"]) % 2)):
                seconds[name].append(arms[name].seconds_per_step())
        for arm in arms.values():
            arm.close()
        threads, batch_size = stage.worker.threads, stage.config.train.batch_size
        quizzed = min(usual.batch_size, len(stage.subset("quiz").ids))
    limits = {"r1": 1 + 1 / (3 * usual.every), "influence": 1 + (1 + 3 * quizzed / batch_size) / (3 * usual.every)}
    long_enough = median(seconds["uniform"]) >= LEAST_STEP_S
    results = {name: to_limit([each / limits[name] for each in _ratios(seconds, name)], GOAL) for name in REWARDS}
    return {
        "bench": "selector",
        "ratios": {name: median(_ratios(seconds, name)) for name in REWARDS},
        "limits": {name: round(limit, 4) for name, limit in limits.items()},
        "ratios_to_limit": {name: each["ratio_to_limit"] for name, each in results.items()},
        "intervals": {name: each["interval"] for name, each in results.items()},
        "goals": dict.fromkeys(REWARDS, GOAL),
        "goal_is_for": "ratios_to_limit",
        "holds": {name: each["holds"] and long_enough for name, each in results.items()},
        "interval_holds": {name: each["interval_holds"] and long_enough for name, each in results.items()},
        "settled": {name: each["settled"] for name, each in results.items()},
        "ratios_every_step": {name: median(_ratios(seconds, f"{name} every step")) for name in REWARDS},
        "step_s": {name: median(each) for name, each in seconds.items()},
        "rounds": len(seconds["uniform"]),
        "threads": threads,
        "batch_size": batch_size,
        "reward_rows": quizzed,
        "teachers": TEACHERS,
    }


def _ratios(seconds: dict[str, list[float]], name: str) -> list[float]:
    return [each / uniform for each, uniform in zip(seconds[name], seconds["uniform"], strict=True)]


def _updated(step: Step) -> None:
    """Waits until the policy has learnt from all rewarded steps."""
    assert isinstance(step, DistillStep)
    weighting = step.weighting
    if isinstance(weighting, PolicyWeighting) and weighting.tally.last >= 0:
        updates = weighting.calendar.count(weighting.tally.last) // weighting.config.update_every
        weighting.line.weights(updates)


def _step(stage: Stage, weighting: WeightingConfig) -> DistillStepFactory:
    sources = tuple(sealed_source(stage, f"teacher{k}") for k in range(TEACHERS))
    width = stage.config.student.hidden_size
    assert width is not None
    encoder = replace(nobody(stage, "sentences"), columns=tuple(range(width)), labels=(), output="pooled")
    # The rows that the stage holds out for a quiz are those that influence is taken on.
    weighting_inputs = WeightingSources("bench", stage.subset("quiz"), sentences=table(stage, encoder))
    return DistillStepFactory(sources, stage.config.objective, weighting, weighting_inputs=weighting_inputs)

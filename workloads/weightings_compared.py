"""Shows: does a policy choose teachers better than rules do? All on the same teachers and the same grid, over seeds.

Command:
    python -m raykd.workloads.weightings_compared workloads/rl_kd.yaml runs/weightings --seeds 0,1,2,3,4 [KEY=VALUE]

The reward split is held out of every arm's training, so that all have the same rows and the same teachers. Each arm is
tuned at the same rates of the student on one seed, on rows carved from train (10 %); the policy has its entropy bonus
in the grid in their place, at the student's rate that was best for `uniform`. The seeds are then scored on the
published validation rows and compared with `uniform` seed by seed. Every run is a folder of its own: interrupt it and
give the command again, finished runs are not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from raykd import config as configuration
from raykd import runtime
from raykd.config import baseline_rules

from .draws import program, run, write_table
from .feedback_vs_kd import against
from .kd_vs_alone import choose, comparison, listed, summary

log = logging.getLogger(__name__)
RATES = ["2e-4", "4e-4"]
BONUSES = ["0.01", "0.1"]
POLICIES = {"policy": list[str](), "often": ["weighting.reward.every=1"]}
"""`often` is rewarded at every step: a run of a few hundred steps gives the default's policy few updates."""


def settings_of(arm: str) -> list[str]:
    """What makes a run this arm's."""
    if arm == "alone":
        return ["weighting=uniform", "objective.alpha=0"]
    if arm in POLICIES:
        return POLICIES[arm]
    return [f"weighting={arm}"]


def tuned(config: Path, output: Path, arm: str, words: argparse.Namespace, overrides: list[str]) -> list[str]:
    """The rates that are best for an arm."""
    if arm not in POLICIES:
        return [f"train.lr={choose(config, output, arm, 'train.lr', words.lrs, overrides)}"]
    # `uniform` ran before: its tuning is found and not done again.
    like_uniform = tuned(config, output, "uniform", words, [*overrides, *settings_of("uniform")])
    bonus = choose(config, output, arm, "weighting.entropy_bonus", words.bonuses, [*overrides, *like_uniform])
    return [*like_uniform, f"weighting.entropy_bonus={bonus}"]


def main() -> None:
    """Tunes, runs the seeds, writes table.json."""
    parser = comparison(__doc__, RATES)
    parser.add_argument("--bonuses", type=listed, default=BONUSES, help="of the policy")
    parser.add_argument("--arms", type=listed, default=["uniform", *POLICIES, *baseline_rules()[1:], "alone"])
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config, output = words.config, words.output
    overrides = ["data.reward=0.1", *overrides, "baselines=[]"]
    table: dict[str, Any] = {}
    with runtime.connected(configuration.load(config, overrides)):
        for arm in words.arms:
            mine = [*overrides, *settings_of(arm)]
            final = [*mine, *tuned(config, output, arm, words, mine)]
            results = [run(config, output / f"{arm}-seed{seed}", [*final, f"seed={seed}"]) for seed in words.seeds]
            table[arm] = summary(results, final[len(mine)].partition("=")[2]) | {"settings": final[len(mine) :]}
            if "uniform" in table and arm != "uniform":
                table[arm]["against_uniform"] = against(table[arm], table["uniform"])
            if arm in POLICIES:
                table[arm]["weighting"] = [
                    result.weighting.model_dump() for result in results if result.weighting is not None
                ]
            table["teachers"] = {teacher.name: teacher.scores for teacher in results[0].teachers}
            write_table(output, table)
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)

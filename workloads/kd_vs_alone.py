"""Shows: does distillation beat the same student without a teacher? Both arms tuned on the same grid, over seeds.

Command:
    python -m raykd.workloads.kd_vs_alone workloads/sst2.yaml runs/sst2 --lrs 1e-4,2e-4,4e-4 --seeds 0,1,2 [KEY=VALUE]

The learning rate of each arm is chosen on one seed and on rows carved from train (10 %); the seeds are then scored on
the published validation rows. `alone` is α = 0: the same program, rows and order, and nothing from the teacher.
Every run is a folder of its own: interrupt it and give the command again, finished runs are not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from pathlib import Path
from typing import Any

from raykd import config as configuration
from raykd import runtime
from raykd.records.run_result import RunResult

from .draws import best, program, run, write_table

log = logging.getLogger(__name__)
ARMS = {"alone": ["objective.alpha=0"], "kd": list[str]()}


def choose(config: Path, output: Path, arm: str, key: str, values: list[str], overrides: list[str]) -> str:
    """The value of a key, of the learning rate say, that is best for this arm on carved rows."""
    carved = [*overrides, "data.validation_from_train=0.1", "seed=0"]
    return best(config, output, arm, key, values, carved)


def summary(results: list[RunResult], lr: str) -> dict[str, Any]:
    """Mean and deviation over seeds of every metric."""
    values = {
        metric: {
            "mean": statistics.fmean(scores),
            "sd": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        }
        for metric in results[0].scores
        if (scores := [score for result in results if (score := result.scores[metric]) is not None])
    }
    return {
        "lr": lr,
        "seeds": [result.seed for result in results],
        "scores": values,
        "values": [result.value for result in results],
        "train_s": statistics.fmean(result.efficiency.train_s for result in results),
        "samples_per_s": statistics.fmean(result.efficiency.samples_per_s for result in results),
        "ratio": statistics.fmean(result.efficiency.ratio for result in results),
    }


def listed(text: str) -> list[str]:
    """The values of an option, `a,b,c`."""
    return text.split(",")


def comparison(description: str | None, lrs: list[str]) -> argparse.ArgumentParser:
    """The arguments of every comparison: configuration, folder, the student's rates to choose from, seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--lrs", type=listed, default=lrs)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in listed(text)], default=[0, 1, 2, 3, 4])
    return parser


def main() -> None:
    """Tunes, runs the seeds, writes table.json."""
    words, overrides = comparison(__doc__, ["1e-4"]).parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    table: dict[str, Any] = {}
    # One Ray for all runs: each would otherwise start its own.
    with runtime.connected(configuration.load(words.config, overrides)):
        for arm, settings in ARMS.items():
            lr = choose(words.config, words.output, arm, "train.lr", words.lrs, [*overrides, *settings])
            final = [*overrides, *settings, f"train.lr={lr}"]
            results = [
                run(words.config, words.output / f"{arm}-seed{seed}", [*final, f"seed={seed}"]) for seed in words.seeds
            ]
            table[arm] = summary(results, lr)
            table["teachers"] = {teacher.name: teacher.scores for teacher in results[0].teachers}
            write_table(words.output, table)
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)

"""Shows: which way of choosing teachers finds out that each is of use on its own rows only?

Command:
    python -m raykd.workloads.contradicting_teachers workloads/contradicting_teachers.yaml runs/contradicting --draws 10

The rows are those of two tasks with two classes each, `sentiment` (the configuration's data) and `acceptability`
(`--other`), equally many of both; each has a teacher of its name, which answers the other task's rows too. Each draw
takes `--rows` labelled rows, of which a fifth chooses the checkpoints and a fifth is the reward split, and the others
without labels up to `--unlabeled`. The splits that the two data sets call validation are scored once, as the test.
Arms: the student with the plan (each row's own teacher) and, with as many steps, `alone`, `uniform`, `entropy` and
`logistic`; then the configuration's policy rewarded with r1, and with influence. The student's rate is the
one that is best for the plan on a draw that is not reported; there the plan must be ahead of `uniform` by 0.03, else
there is nothing to find and the program ends. Intervals are those of `raykd compare`, adjusted over all arms. Every run
is a folder of its own: interrupt it and give the command again, finished runs are not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from raykd import api, runtime
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.data import corpus

from .draws import TUNING_DRAW, best, drawn, program, run, write_table, written
from .kd_vs_alone import comparison, listed

log = logging.getLogger(__name__)
DOMAINS = ("sentiment", "acceptability")
BASELINES = ["alone", "uniform", "entropy", "logistic"]
PLAN = "weighting={type: oracle, by: domain}"
LEAST_GAP = 0.03


def pooled(plain: RunConfig, other: list[str], folder: Path) -> None:
    """Train and test of both tasks in one folder, shuffled, with the task as domain and as many train rows of each."""
    places = [[], [f"data.source={other[0]}", f"data.subset={other[1] if other[1:] else 'null'}"]]
    configs = [configuration.parse(plain.model_dump(mode="json", by_alias=True), place) for place in places]
    loaded = [corpus.load(config.data, config.task, config.cache_folder) for config in configs]
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", "train"), ("test", "validation")):
        frames = [
            pd.read_feather(each.splits[split].path)[["text", "label"]].drop_duplicates("text").assign(domain=domain)
            for each, domain in zip(loaded, DOMAINS, strict=True)
        ]
        if name == "train":
            rows = min(map(len, frames))
            frames = [frame.sample(rows, random_state=0) for frame in frames]
        pd.concat(frames).sample(frac=1.0, random_state=0).to_parquet(folder / f"{name}.parquet")


def settings(folder: Path, draw: int, rows: int, unlabeled: int) -> list[str]:
    """The overrides of one draw."""
    return [
        *written(folder),
        *drawn(draw, rows),
        "data.domain=domain",
        "data.validation_from_train=0.2",
        "data.reward=0.2",
        f"data.unlabeled={{split: rest, max_rows: {unlabeled}}}",
    ]


def arguments(description: str | None, draws: int = 10) -> argparse.ArgumentParser:
    """The arguments of a comparison of ways to choose."""
    parser = comparison(description, ["1e-3", "2e-3"])
    parser.add_argument("--draws", type=int, default=draws)
    parser.add_argument("--rows", type=int, default=2000, help="labelled rows of a draw")
    return parser


def choices_compared(
    words: argparse.Namespace, overrides: list[str], plan: str, of_draw: Callable[[int], list[str]]
) -> dict[str, Any]:
    """Plan, rules and two policies over draws, and what each closes of the gap from uniform weights to the plan.

    Args:
        plan: the override that gives each row its own teacher.
        of_draw: the overrides of a draw.
    """
    arms = {"plan": [plan, f"baselines=[{', '.join(BASELINES)}]"]}
    for reward in ("r1", "influence"):
        arms[reward] = [f"weighting.reward.type={reward}"]
    tuning = [*overrides, *of_draw(TUNING_DRAW), *arms["plan"]]
    lr = best(words.config, words.output, "train.lr", "train.lr", words.lrs, tuning)
    tuned = run(words.config, words.output / f"tune-train.lr-{lr}", [*tuning, f"train.lr={lr}"])
    gap = (tuned.value or 0.0) - (tuned.baselines["uniform"].value or 0.0)
    if gap < LEAST_GAP:
        raise SystemExit(f"on the tuning draw the plan is ahead of uniform by {gap:.3f} only: nothing to find")
    for draw in range(words.draws):
        for arm, own in arms.items():
            own_settings = [*of_draw(draw), *own, f"train.lr={lr}"]
            run(words.config, words.output / f"{arm}-draw{draw}", [*overrides, *own_settings])
    folders = [words.output / f"{arm}-draw{draw}" for arm in arms for draw in range(words.draws)]
    table: dict[str, Any] = {"lr": lr, "gap_on_the_tuning_draw": gap}
    for reference in ("plan", "plan, baseline uniform"):
        table[reference] = api.compare(folders, reference, every_arm=True).model_dump(mode="json")
    values = {arm["name"]: statistics.fmean(draw["value"] for draw in arm["draws"]) for arm in table["plan"]["arms"]}
    planned, uniform = values["plan"], values["plan, baseline uniform"]
    closed = {arm: (value - uniform) / (planned - uniform) for arm, value in values.items()}
    table["share_of_the_gap_closed"] = closed
    write_table(words.output, table)
    return table


def main() -> None:
    """Tunes, runs the draws, writes table.json."""
    parser = arguments(__doc__)
    parser.add_argument("--other", type=listed, default=["nyu-mll/glue", "cola"], help="source, or source,subset")
    parser.add_argument("--unlabeled", type=int, default=12_000)
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plain, data = configuration.load(words.config, overrides), words.output.resolve() / "data"
    pooled(plain, words.other, data)
    with runtime.connected(plain):
        table = choices_compared(words, overrides, PLAN, lambda draw: settings(data, draw, words.rows, words.unlabeled))
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)

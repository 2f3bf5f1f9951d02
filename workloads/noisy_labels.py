"""Shows: does a teacher of noisy labels learn more from a clean quiz by its student's feedback than by its labels?

Command:
    python -m raykd.workloads.noisy_labels workloads/noisy_labels.yaml runs/noisy --draws 10 [KEY=VALUE]

Of the configuration's train a tenth keeps its labels; in the others a share of one class is flipped. Each draw takes
other noisy rows (`--rows`), fine-tunes the teacher on them, and has files of clean rows of its own: a quiz, and as many
rows that choose the checkpoints. The split that the configuration calls validation is scored once, as the test. Arms:
the student under MetaDistil and, with as many steps, `alone` (on noisy rows and quiz), `quiz_student` and
`quiz_teacher`; then the student under IKD, and `kd`, which learns from the frozen teacher on the noisy rows alone. The
teacher's rate under feedback is chosen for MetaDistil, and that of IKD for IKD, on the clean rows of a draw that is not
reported. Intervals are those of `raykd compare`, adjusted over all arms. Every run is a folder of its own: interrupt it
and give the command again, finished runs are not done again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raykd import api, runtime
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.errors import ConfigError

from .draws import TUNING_DRAW, best, drawn, named_tables, program, run, write_table, written
from .kd_vs_alone import comparison, listed

log = logging.getLogger(__name__)
BASELINES = ["alone", "quiz_student", "quiz_teacher"]
KD = ["feedback=none", "data.quiz=null"]
IKD = ["feedback.type=ikd", "feedback.weight=1.0e-4"]
CLEAN_SHARE = 0.1


def flipped(frame: pd.DataFrame, labels: list[str], share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The rows with a share of the last of two classes given the other label."""
    other, noisy = labels
    wrong = (frame["label"] == noisy).to_numpy() & (rng.random(len(frame)) < share)
    return frame.assign(label=np.where(wrong, other, frame["label"]))


def write_data(plain: RunConfig, folder: Path, draws: list[int], clean_rows: int, noise: float) -> None:
    """Noisy train, the test, and for each draw two files of clean rows whose texts no noisy row has."""
    labels, tables = named_tables(plain)
    if len(labels) != 2:
        raise ConfigError("task.labels", "one class of two is flipped here, and the data has others")
    train = tables["train"].drop_duplicates("text").sample(frac=1.0, random_state=0)
    clean, rest = train[: int(CLEAN_SHARE * len(train))], train[int(CLEAN_SHARE * len(train)) :]
    folder.mkdir(parents=True, exist_ok=True)
    flipped(rest, labels, noise, np.random.default_rng(0)).to_parquet(folder / "train.parquet")
    tables["validation"].to_parquet(folder / "test.parquet")
    for draw in draws:
        drawn = clean.sample(2 * clean_rows, random_state=draw)
        drawn[:clean_rows].to_parquet(folder / f"quiz-{draw}.parquet")
        drawn[clean_rows:].to_parquet(folder / f"choice-{draw}.parquet")


def settings(folder: Path, draw: int, rows: int) -> list[str]:
    """The overrides of one draw."""
    return [
        *written(folder),
        *drawn(draw, rows),
        f"data.validation=choice-{draw}.parquet",
        f"data.quiz=quiz-{draw}.parquet",
    ]


def main() -> None:
    """Tunes, runs the draws, writes table.json."""
    parser = comparison(__doc__, ["2e-3"])
    parser.add_argument("--metadistil-lrs", type=listed, default=["3e-6", "1e-5", "3e-5"], help="of the teacher")
    parser.add_argument("--ikd-lrs", type=listed, default=["1e-5", "3e-5", "1e-4"], help="of the teacher")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=2000, help="with noisy labels")
    parser.add_argument("--clean", type=int, default=300, help="rows of the quiz, and of the choice of checkpoints")
    parser.add_argument("--noise", type=float, default=0.45, help="share of the last class that is flipped")
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plain = configuration.load(words.config, overrides)
    data, draws = words.output.resolve() / "data", list(range(words.draws))
    write_data(plain, data, [*draws, TUNING_DRAW], words.clean, words.noise)
    baselines = f"baselines=[{', '.join(BASELINES)}]"
    with runtime.connected(plain):
        tuning = [*overrides, *settings(data, TUNING_DRAW, words.rows)]
        lr = best(words.config, words.output, "train.lr", "train.lr", words.lrs, [*tuning, *KD])
        tuning.append(f"train.lr={lr}")
        arms: dict[str, list[str]] = {}
        for arm, feedback, rates in (("metadistil", [], words.metadistil_lrs), ("ikd", IKD, words.ikd_lrs)):
            key, place = "feedback.teacher_lr", words.output / f"tune-{arm}"
            rate = best(words.config, place, key, key, rates, [*tuning, *feedback])
            arms[arm] = [*feedback, f"{key}={rate}", f"train.lr={lr}"]
        arms["metadistil"].append(baselines)
        arms["kd"] = [*KD, f"train.lr={lr}"]
        for draw in draws:
            for arm, own in arms.items():
                own_settings = [*settings(data, draw, words.rows), *own]
                run(words.config, words.output / f"{arm}-draw{draw}", [*overrides, *own_settings])
    folders = [words.output / f"{arm}-draw{draw}" for arm in arms for draw in draws]
    table: dict[str, Any] = {"chosen": arms}
    for reference in ("metadistil", "kd"):
        compared = api.compare(folders, reference, every_arm=True, drawn=["data.quiz", "data.validation"])
        table[reference] = compared.model_dump(mode="json")
    write_table(words.output, table)
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)

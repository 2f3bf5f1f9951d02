"""Shows: teachers of one task, each right on its own domains and wrong elsewhere; which way of choosing finds that out?

Command:
    python -m raykd.workloads.specialised_teachers workloads/specialised_teachers.yaml runs/specialised --draws 10 \\
        --transfer FOLDER [KEY=VALUE]

The configuration's data has a domain column; `--specialists` names who is right where. The rows of train are dealt out
once: some to the teachers, which are fine-tuned on them with a share of the labels wrong outside their own domains,
some to the test, beside the split that the configuration calls validation, and the others to the students. Each draw
takes `--rows` of those with labels, of which a fifth chooses the checkpoints and a fifth is the reward split; the rows
of `--transfer` (text and domain) have none. Arms, choice of the rate and intervals are those of
contradicting_teachers. Every run is a folder of its own: interrupt it and give the command again, finished runs are not
done again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from raykd import api, runtime
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.errors import ConfigError

from .contradicting_teachers import arguments, choices_compared
from .draws import drawn, named_tables, program, written

log = logging.getLogger(__name__)
Specialists = dict[str, list[str]]


def specialists(text: str) -> Specialists:
    """The value of `--specialists`, `NAME=DOMAIN+DOMAIN,NAME=…`."""
    return {name: domains.split("+") for name, _, domains in (part.partition("=") for part in text.split(","))}


def misled(frame: pd.DataFrame, own: list[str], share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The rows with a share of the labels outside the own domains replaced by another class."""
    labels = sorted(frame["label"].unique())
    places = frame["label"].map(labels.index).to_numpy()
    others = (places + rng.integers(1, len(labels), len(frame))) % len(labels)
    wrong = ~frame["domain"].isin(own).to_numpy() & (rng.random(len(frame)) < share)
    return frame.assign(label=np.array(labels)[np.where(wrong, others, places)])


def write_data(
    plain: RunConfig, folder: Path, who: Specialists, teacher_rows: int, test_rows: int, wrong: float
) -> None:
    """Train and test of the students, and a file of rows for each teacher."""
    if plain.data.domain is None:
        raise ConfigError("data.domain", "is not set", "name the column that tells the domains")
    _, tables = named_tables(plain)
    splits = {name: frame[["text", "label", "domain"]] for name, frame in tables.items()}
    train = splits["train"].drop_duplicates("text").sample(frac=1.0, random_state=0)
    ends = [teacher_rows, teacher_rows + test_rows]
    of_teachers, of_test, of_students = train[: ends[0]], train[ends[0] : ends[1]], train[ends[1] :]
    folder.mkdir(parents=True, exist_ok=True)
    of_students.to_parquet(folder / "train.parquet")
    pd.concat([splits["validation"], of_test]).to_parquet(folder / "test.parquet")
    for k, (name, domains) in enumerate(who.items()):
        rows = misled(of_teachers, domains, wrong, np.random.default_rng(k))
        rows.to_parquet(folder / f"{name}.parquet")


def main() -> None:
    """Prepares the teachers, tunes, runs the draws, writes table.json."""
    parser = arguments(__doc__)
    who = specialists("reader=books+dvd,maker=electronics+kitchen")
    parser.add_argument("--specialists", type=specialists, default=who, help="NAME=DOMAIN+DOMAIN,NAME=…")
    parser.add_argument("--transfer", type=Path, required=True, help="folder or file of rows without labels")
    parser.add_argument("--teacher-rows", type=int, default=2500)
    parser.add_argument("--test-rows", type=int, default=1500, help="of train, beside the validation split")
    parser.add_argument("--labeled-share", type=float, default=0.3, help="of a batch: rows with labels")
    parser.add_argument("--wrong", type=float, default=0.9, help="share of wrong labels outside a teacher's domains")
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plain, data = configuration.load(words.config, overrides), words.output.resolve() / "data"
    write_data(plain, data, words.specialists, words.teacher_rows, words.test_rows, words.wrong)
    plan = {domain: name for name, domains in words.specialists.items() for domain in domains}
    transfer = words.transfer.resolve()
    with runtime.connected(plain):
        given = []
        for k, name in enumerate(words.specialists):
            own = [f"data.train={name}.parquet", "data.validation=test.parquet", "data.test=null"]
            teacher = plain.teachers[k].model_copy(update={"name": name}).model_dump(mode="json", by_alias=True)
            config = configuration.load(
                words.config, [*overrides, *written(data), *own, f"teachers={json.dumps([teacher])}"]
            )
            (prepared,) = api.teach(config, words.output / f"teacher-{name}")
            given.append({"name": name, "model": str(prepared["folder"])})

        def of_draw(draw: int) -> list[str]:
            return [
                *written(data),
                *drawn(draw, words.rows),
                f"teachers={json.dumps(given)}",
                "data.validation_from_train=0.2",
                "data.reward=0.2",
                f"train.labeled_share={words.labeled_share}",
                f"data.unlabeled={{source: {transfer}, domain: domain, domains: [{', '.join(plan)}]}}",
            ]

        by_plan = f"weighting={{type: oracle, by: domain, plan: {json.dumps(plan)}}}"
        table = choices_compared(words, overrides, by_plan, of_draw)
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)

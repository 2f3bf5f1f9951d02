"""Shows: is a meta-teacher's student better than those of other teachers? Meta-KD (Pan et al. 2021) in folds.

Command:
    python -m raykd.workloads.meta_kd workloads/meta_kd_amazon.yaml runs/meta_kd --folds 3 \\
        --settings all,0.01,leave_out,0.1 --lrs 1e-4 [KEY=VALUE]

The rows of all splits of the configuration are divided into folds, by domain and label; each fold is the test once, so
every row is. In a setting and fold each domain has a student for each arm:

  meta               the configuration: the meta-teacher, features weighed by its expertise, its domain knowledge
  meta_features      the same teacher and features, without expertise and knowledge
  meta_logits        the same teacher, logits alone
  multi_task         one encoder with a classifier for each domain
  multi_task_logits  the same teacher, logits alone
  mixed              one teacher of all domains' rows
  single             a teacher of the domain's own rows
  several            all domains' single teachers, blended evenly
  alone              no teacher

and `plain`, one student of all domains and the mixed teacher. Arms other than `meta` match the same features, without
expertise and knowledge; all arms make as many steps. Settings: `all` labels; a share of the target domain's labels,
with its other rows as rows without labels (its teachers do not read the others either); `leave_out`: the teachers do
not see the target domain. Rates are chosen on fold 0. Intervals: paired bootstrap over rows, drawn within each fold and
domain that is finished: chance in what is trained (a teacher for each fold, a student for each cell) is not in them, so
the gain of each fold stands beside. Every run is a folder of its own: interrupt it and give the command again, finished
runs are not done again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from raykd import config as configuration
from raykd import runtime
from raykd.compare.bootstrap import Measured, Scale, percentile_interval, resampled_differences
from raykd.config import RunConfig
from raykd.errors import ConfigError
from raykd.records.predictions import STUDENT, read_predictions

from .draws import best, named_tables, program, run, write_table

log = logging.getLogger(__name__)
LOGITS_ALONE = ("meta_logits", "multi_task_logits", "alone")
ARMS = (
    "meta", "meta_features", "meta_logits", "multi_task", "multi_task_logits", "mixed", "single", "several", "alone",
)  # fmt: skip
PLAIN, REFERENCE = "plain", "meta"
RESAMPLES = 10_000
LONGER = 3
"""Epochs of a single teacher are so many times those of a teacher of all domains, whose rows are several times more."""


@dataclass(frozen=True)
class Cell:
    """One student: its setting, fold, domain and arm."""

    setting: str
    fold: int
    domain: str
    arm: str

    @property
    def folder(self) -> str:
        """The name of its run."""
        return f"{self.setting}-fold{self.fold}-{self.domain}-{self.arm}"


def write_folds(plain: RunConfig, output: Path, folds: int) -> list[str]:
    """Writes train, validation and test of each fold as parquet; returns the domains.

    A tenth of what is not the fold's test chooses checkpoints. A fold is the same whatever the machine.
    """
    _, tables = named_tables(plain)
    rows = pd.concat([tables[name] for name in sorted(tables)], ignore_index=True).drop_duplicates("text")
    rng = np.random.default_rng(0)
    rows = rows.iloc[rng.permutation(len(rows))].sort_values(["domain", "label"], kind="stable").reset_index(drop=True)
    fold_of = np.arange(len(rows)) % folds
    for fold in range(folds):
        folder = output / f"fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        rest = rows[fold_of != fold].reset_index(drop=True)
        held = np.arange(len(rest)) % 10 == 9
        parts = {"test": rows[fold_of == fold], "validation": rest[held], "train": rest[~held]}
        for name, part in parts.items():
            if not (folder / f"{name}.parquet").exists():
                part.sample(frac=1, random_state=fold).to_parquet(folder / f"{name}.parquet", index=False)
    return sorted(rows["domain"].unique())


def overrides_of(cell: Cell, config: RunConfig, domains: Sequence[str]) -> list[str]:
    """What a cell changes in the configuration, its fold's data aside."""
    (teacher,) = [entry.model_dump(mode="json", by_alias=True) for entry in config.teachers]
    common = {key: teacher[key] for key in ("model", "precision", "threads", "num_gpus", "finetune")}
    longer = {**common, "finetune": {**common["finetune"], "epochs": LONGER * common["finetune"]["epochs"]}}
    left = {"leave_out": ["target"]} if cell.setting == "leave_out" else {}
    others = [domain for domain in domains if not (left and domain == cell.domain)]
    singles = [{**longer, "prepare": "finetune", "name": f"single_{d}", "domains": [d]} for d in others]
    teachers: dict[str, list[dict[str, Any]]] = {
        "meta": [{**teacher, **left}],
        "multi_task": [{**common, "prepare": "multi_task", "name": "multi_task", **left}],
        "mixed": [{**common, "prepare": "finetune", "name": "mixed", **left}],
        "single": [each for each in singles if each["name"] == f"single_{cell.domain}"],
        "several": singles,
    }
    teachers |= dict.fromkeys(("meta_features", "meta_logits"), teachers["meta"])
    teachers |= {"multi_task_logits": teachers["multi_task"]}
    teachers |= {"alone": teachers["mixed"], PLAIN: teachers["mixed"]}
    written = [f"teachers={yaml.safe_dump(teachers[cell.arm], default_flow_style=True, width=10**6).strip()}"]
    if cell.arm in LOGITS_ALONE:
        written.append("objective.features=null")
    elif cell.arm != "meta" and config.objective.features is not None:
        written += ["objective.features.expertise=false", "objective.features.knowledge=null"]
        if cell.arm == "several" and not left:
            written.append(f"objective.features.teacher=single_{cell.domain}")
    if cell.arm == "alone":
        written.append("objective.alpha=0")
    if cell.arm != PLAIN:
        written.append(f"data.target_domain={cell.domain}")
    if cell.setting not in ("all", "leave_out"):
        written.append(f"data.fraction={cell.setting}")
        if cell.arm != "alone":  # its other rows have nobody to label them
            written.append("data.unlabeled={split: rest}")
    return [*written, f"seed={cell.fold}", f"data.seed={cell.fold}", f"name={cell.folder}"]


def cells(settings: Sequence[str], folds: int, domains: Sequence[str], arms: Sequence[str]) -> Iterator[Cell]:
    """All students, the folds of a setting first: a table that is cut short has whole folds."""
    for setting in settings:
        for fold in range(folds):
            for domain in domains:
                for arm in arms:
                    if setting == "leave_out" and arm == "single":
                        continue  # it is a teacher of the domain that is left out
                    if arm != PLAIN or (domain == domains[0] and setting == "all"):
                        yield Cell(setting, fold, domain, arm)


Parts = dict[tuple[int, str], pd.DataFrame]
"""By fold and domain, the label and the prediction of each test row, in one order for all arms."""


def answers(output: Path, cell: Cell, row_domains: np.ndarray) -> Parts:
    """A student's answers on the test rows of its domain; of `plain` on those of every domain.

    Args:
        row_domains: of the fold's test rows.
    """
    predictions = read_predictions(output / cell.folder)[STUDENT, "test"]
    frame = pd.DataFrame({"label": predictions.labels, "predicted": predictions.predicted}, index=predictions.ids)
    names = sorted(set(row_domains)) if cell.arm == PLAIN else [cell.domain]
    return {(cell.fold, name): frame[row_domains[frame.index] == name].sort_index() for name in names}


def table(output: Path, done: Sequence[Cell], row_domains: dict[int, np.ndarray]) -> dict[str, dict[str, Any]]:
    """By setting and arm: values by domain and over all rows, and meta − arm with its 95 % interval."""
    by_arm: dict[str, dict[str, Parts]] = {}
    for cell in done:
        parts = answers(output, cell, row_domains[cell.fold])
        by_arm.setdefault(cell.setting, {}).setdefault(cell.arm, {}).update(parts)
    return {
        setting: {arm: _values(parts) | _gain(arms.get(REFERENCE, {}), parts, arm) for arm, parts in arms.items()}
        for setting, arms in by_arm.items()
    }


def _values(parts: Parts) -> dict[str, Any]:
    """Accuracy by domain and over all rows."""
    names = sorted({name for _, name in parts})
    domains = {name: _accuracy([frame for (_, domain), frame in parts.items() if domain == name]) for name in names}
    return {"domains": domains, "all": _accuracy(list(parts.values())), "rows": sum(map(len, parts.values()))}


def _gain(reference: Parts, parts: Parts, arm: str) -> dict[str, Any]:
    """The reference less an arm, on the folds and domains that both have; rows are drawn within each of them."""
    common = [key for key in parts if key in reference]
    if arm == REFERENCE or not common:
        return {}
    mine, theirs = (pd.concat([some[key] for key in common]) for some in (reference, parts))
    labels, sizes = mine["label"].to_numpy(), [len(parts[key]) for key in common]
    measured = [Measured(frame["predicted"].to_numpy()[None]) for frame in (mine, theirs)]
    differences = resampled_differences(
        Scale("accuracy", int(labels.max()) + 1), labels, *measured,
        paired=True, resamples=RESAMPLES, seed=0, strata=np.repeat(np.arange(len(common)), sizes),
    )  # fmt: skip
    ours, others = ((arm.predicted[0] == labels).astype(float) for arm in measured)
    by_fold = pd.Series(ours - others).groupby(np.repeat([fold for fold, _ in common], sizes)).mean()
    return {
        "gain": float((ours - others).mean()),
        "interval": percentile_interval(differences, 0.05),
        "folds": by_fold.to_list(),
        "common_rows": len(labels),
    }


def _accuracy(frames: Sequence[pd.DataFrame]) -> float:
    joined = pd.concat(frames)
    return float((joined["label"] == joined["predicted"]).mean())


def check_known(option: str, given: Sequence[Any] | None, known: Sequence[Any]) -> None:
    """Refuses a value of an option that names nothing: its runs would be left out in silence.

    Raises:
        ConfigError: with the values that there are.
    """
    for value in given or []:
        if value not in known:
            raise ConfigError(option, f"there is no {value}", f"take of {', '.join(map(str, known))}")


def main() -> None:
    """Writes the folds, chooses the rate, runs the cells, writes table.json after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: [int(fold) for fold in text.split(",")], help="folds of these")
    parser.add_argument("--domains", type=lambda text: text.split(","), help="students of these alone; default all")
    parser.add_argument("--settings", type=lambda text: text.split(","), default=["all", "0.01", "leave_out", "0.1"])
    parser.add_argument("--arms", type=lambda text: text.split(","), default=[*ARMS, PLAIN])
    parser.add_argument("--lrs", type=lambda text: text.split(","), default=["1e-4"], help="tried on fold 0")
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plain = configuration.load(words.config, overrides)
    check_known("--arms", words.arms, [*ARMS, PLAIN])
    check_known("--only", words.only, range(words.folds))
    words.output.mkdir(parents=True, exist_ok=True)
    domains = write_folds(plain, words.output, words.folds)
    check_known("--domains", words.domains, domains)
    row_domains = {
        fold: pd.read_parquet(words.output / f"fold{fold}" / "test.parquet")["domain"].to_numpy()
        for fold in range(words.folds)
    }

    def of(cell: Cell) -> list[str]:
        folder = (words.output / f"fold{cell.fold}").resolve()
        data = [f"data.source={folder}", "data.subset=null", "data.text=text", "data.domain=domain"]
        return [*overrides, *data, "data.test=test.parquet", *overrides_of(cell, plain, domains)]

    with runtime.connected(plain):
        first = Cell(words.settings[0], 0, domains[0], "mixed")
        lr = best(words.config, words.output, "train.lr", "train.lr", words.lrs, of(first))
        done: list[Cell] = []
        for cell in cells(words.settings, words.folds, domains, words.arms):
            if (words.only and cell.fold not in words.only) or (words.domains and cell.domain not in words.domains):
                continue
            run(words.config, words.output / cell.folder, [*of(cell), f"train.lr={lr}"])
            done.append(cell)
            write_table(words.output, {"lr": lr, **table(words.output, done, row_domains)})


if __name__ == "__main__":
    program(main)

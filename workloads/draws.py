"""Runs of a configuration, a folder each, over draws or settings, and their table; shared by the comparisons."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raykd import api
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.data import corpus
from raykd.errors import ConfigError, RaykdError
from raykd.files import write_json
from raykd.records.run_result import RunResult

log = logging.getLogger(__name__)
TUNING_DRAW = 1000
"""The draw that settings are chosen on; it is not reported."""


def run(config: Path, folder: Path, overrides: Sequence[str]) -> RunResult:
    """All arms of one run; a finished folder returns its result."""
    result = api.distill(configuration.load(config, list(overrides)), folder)
    # What a run would be resumed from is several times what it made, and a table has dozens of runs.
    for heavy in (folder / "checkpoints", *folder.glob("baselines/*/checkpoints")):
        shutil.rmtree(heavy, ignore_errors=True)
    values = {"student": result.reported_value(result)}
    values |= {name: result.reported_value(arm) for name, arm in result.baselines.items()}
    log.info("%s: %s", folder.name, values)
    return result


def best(
    config: Path,
    output: Path,
    name: str,
    key: str,
    values: Sequence[str],
    overrides: Sequence[str],
    arm: str = "student",
) -> str:
    """The value of a key with which an arm, the student or a baseline, is best on the rows that choose its checkpoint.

    Args:
        output: the runs are `tune-NAME-VALUE` in it.
    """
    if len(values) == 1:
        return values[0]
    scores: dict[str, float] = {}
    for value in values:
        result = run(config, output / f"tune-{name}-{value}", [*overrides, f"{key}={value}"])
        score = result.value if arm == "student" else result.baselines[arm].value
        scores[value] = float("-inf") if score is None else score
    log.info("%s of %s when tuned: %s", key, name, scores)
    return max(scores, key=lambda value: scores[value])


def drawn(draw: int, labels: int) -> list[str]:
    """The overrides of one draw of so many labelled rows: rows and seed vary together."""
    return [f"data.max_train_rows={labels}", f"data.seed={draw}", f"seed={draw}"]


def written(folder: Path) -> list[str]:
    """The overrides that read train.parquet of a folder that a program wrote, and test.parquet as the test."""
    return [f"data.source={folder}", "data.subset=null", "data.text=text", "data.test=test.parquet"]


def named_tables(plain: RunConfig) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """The classes of the configuration's data, and its splits as tables whose column `label` has their names.

    Raises:
        ConfigError: the task is a regression.
    """
    loaded = corpus.load(plain.data, plain.task, plain.cache_folder)
    if loaded.labels is None:
        raise ConfigError("task", "labels are changed here, and a regression has no classes")
    names = np.array(loaded.labels)
    frames = {name: pd.read_feather(split.path) for name, split in loaded.splits.items()}
    return loaded.labels, {name: frame.assign(label=names[frame["label"]]) for name, frame in frames.items()}


def write_table(output: Path, table: dict[str, Any]) -> None:
    """What is known so far, as table.json."""
    write_json(output / "table.json", table)


def program(main: Callable[[], None]) -> None:
    """Runs a program's `main`; what a user can mend, or has stopped, is one line and an exit status as of `raykd`."""
    try:
        main()
    except RaykdError as error:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {error}\n")
        sys.exit(error.status)

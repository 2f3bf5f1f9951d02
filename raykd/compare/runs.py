"""Reads finished runs for a comparison: configuration, result, every arm's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raykd import config as configuration
from raykd.errors import ConfigError, RunError
from raykd.records.predictions import FILE, Predictions, read_predictions
from raykd.records.result import TITLES, read_result
from raykd.records.run_result import RunResult
from raykd.records.study_result import StudyResult

DRAWN = ("seed", "data.seed")
"""What runs of one treatment are drawn with."""
OF_NO_EFFECT = ("name", "baselines", "parity_rows")
"""Keys that do not change the student, beside those of places (`cluster`, `cache`, `trackers`, …)."""


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        settings: all that decides the student, by dotted key, without the seeds that it is drawn with.
        draw: seed and data.seed.
        predictions: by (arm, split).
    """

    folder: Path
    settings: dict[str, Any]
    draw: tuple[int, int]
    result: RunResult
    predictions: dict[tuple[str, str], Predictions]


def read_runs(folders: Sequence[Path], drawn: Sequence[str] = ()) -> list[ComparedRun]:
    """Reads the folders of finished runs.

    Args:
        drawn: further keys that the draws of a treatment differ in, such as `data.quiz` for files drawn by a script.

    Raises:
        ConfigError: a folder is given twice, holds no finished run or has no predictions, or the runs have different
            metrics or classes.
    """
    resolved = [folder.expanduser().resolve() for folder in folders]
    for folder in resolved:
        if resolved.count(folder) > 1:
            raise ConfigError(str(folder), "is given twice", "give each run once")
    runs = [_read(folder, drawn) for folder in resolved]
    for run in runs[1:]:
        _check_task(run, runs[0])
    return runs


def _read(folder: Path, drawn: Sequence[str]) -> ComparedRun:
    example = "give the folders of finished runs, for example runs/NAME"
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", example)
    try:
        result, predictions = read_result(folder / "result.json"), read_predictions(folder)
    except RunError as error:
        raise ConfigError(error.where, error.what, error.mend) from None
    if result is None:
        raise ConfigError(str(folder), "holds no finished run: it has no result.json", example)
    if not isinstance(result, RunResult):
        first = "best" if isinstance(result, StudyResult) else next(iter(result.domains.values())).folder
        raise ConfigError(str(folder), f"holds {TITLES[type(result)]} and no run", f"give {folder}/{first}")
    if not predictions:
        raise ConfigError(str(folder), f"has no {FILE}", "run it again in another folder")
    config = configuration.load(folder / "config.yaml")
    settings = configuration.settings(config)
    if unknown := [key for key in drawn if key not in settings]:
        raise ConfigError(str(folder), f"its configuration has no key {unknown[0]}", "see config.yaml there")
    for key in (*DRAWN, *drawn, *[key for key in settings if key.split(".")[0] in OF_NO_EFFECT]):
        settings.pop(key, None)
    return ComparedRun(folder, settings, (config.seed, config.data.seed), result, predictions)


def _check_task(run: ComparedRun, first: ComparedRun) -> None:
    for what, ours, theirs in (
        ("metric", run.result.metric, first.result.metric),
        ("classes", run.result.labels, first.result.labels),
    ):
        if ours != theirs:
            difference = f"has the {what} {ours}, and {first.folder} has {theirs}"
            raise ConfigError(str(run.folder), difference, "compare runs of one task")

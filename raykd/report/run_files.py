"""Reads a run's folder, finished or not: its result, the fold of its logs, its configuration and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raykd.errors import ConfigError, RunError
from raykd.records.predictions import FILE, STUDENT, read_predictions
from raykd.records.result import TITLES, read_result
from raykd.records.run_result import RunResult
from raykd.records.run_state import RunState

EXAMPLE = "give the folder of a run, for example runs/NAME"


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        result: None while the run is not finished.
        config_text: config.yaml as it is there.
        config: the same parsed; empty where it is no mapping.
        predictions: of a regression the true values and the student's on validation.
        warnings: the result's, and those of reading the folder.
    """

    folder: Path
    state: RunState
    result: RunResult | None = None
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[np.ndarray, np.ndarray] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The run's name, or its folder's while it is not finished."""
        return self.result.name if self.result else self.folder.resolve().name

    @property
    def metric(self) -> str:
        """The metric that chooses the best checkpoint."""
        return self.result.metric if self.result else self.state.student.metric

    def setting(self, section: str, key: str) -> Any:
        """A key of a section of the configuration (of a shorthand: `type`); None where it is not there."""
        content = self.config.get(section)
        return content.get(key) if isinstance(content, dict) else content if key == "type" else None


def read_run(folder: Path) -> Run:
    """Reads all that is there.

    Raises:
        ConfigError: the folder does not exist or is no run's.
        RunError: result.json is damaged or of another version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", EXAMPLE)
    if not any((folder / name).is_file() for name in ("result.json", "metrics.jsonl", "config.yaml")):
        raise ConfigError(str(folder), "is no run's folder: neither result.json nor metrics.jsonl is in it", EXAMPLE)
    result = read_result(folder / "result.json")
    if result is not None and not isinstance(result, RunResult):
        raise ConfigError(str(folder), f"holds {TITLES[type(result)]} and no run", EXAMPLE)
    text = read_text(folder / "config.yaml")
    classes = result is not None and result.confusion is not None
    predictions, warnings = (None, []) if classes else _predictions(folder)
    return Run(
        folder,
        RunState.read(folder),
        result,
        text,
        _mapping(text),
        predictions,
        [*(result.warnings if result else []), *warnings],
    )


def read_text(path: Path) -> str:
    """A text file's content; empty where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _mapping(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _predictions(folder: Path) -> tuple[tuple[np.ndarray, np.ndarray] | None, list[str]]:
    """The true values of a regression and the student's, and a warning if the file cannot be read."""
    try:
        answers = read_predictions(folder).get((STUDENT, "validation"))
    except RunError as error:
        return None, [f"{FILE} {error.what}"]
    if answers is None:
        return None, []
    true, predicted = answers.labels.astype(np.float64), answers.predicted.astype(np.float64)
    known = np.isfinite(true) & np.isfinite(predicted)
    return (true[known], predicted[known]), []

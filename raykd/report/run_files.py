"""Reads a run's folder, finished or not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raykd.errors import ConfigError, RaykdError
from raykd.records.log import Event, read_events
from raykd.report.curves import Curves

Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run's folder holds; `result` is empty while the run is not finished."""

    folder: Path
    result: Result = field(default_factory=dict)
    config: str = ""  # config.yaml as it stands there
    events: list[Event] = field(default_factory=list)
    baselines: dict[str, Curves] = field(default_factory=dict)
    answers: tuple[np.ndarray, np.ndarray] | None = None  # of a regression: true values and predictions on validation
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.result.get("name") or self.folder.resolve().name)

    @property
    def student(self) -> Curves:
        return Curves.of(self.events)

    @property
    def metric(self) -> str:
        return str(self.result.get("metric") or self.student.metric)

    @property
    def phase(self) -> str:
        """The last phase that the run began."""
        return next((str(event.get("phase", "")) for event in reversed(self.events) if event["event"] == "phase"), "")


def read_run(folder: Path) -> Run:
    """Reads all that is there.

    Raises:
        ConfigError: the folder is not there or is no run's.
        RaykdError: result.json is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", "give the folder of a run, for example runs/NAME")
    if not any((folder / name).is_file() for name in ("result.json", "metrics.jsonl", "config.yaml")):
        what = "is no run's folder: neither result.json nor metrics.jsonl is in it"
        raise ConfigError(str(folder), what, "give the folder that `raykd distill` wrote")
    result = read_result(folder / "result.json")
    config = folder / "config.yaml"
    logs = sorted(folder.glob("baselines/*/metrics.jsonl"))
    answers, warnings = _answers(folder / "predictions.parquet") if not result.get("confusion") else (None, [])
    return Run(
        folder,
        result,
        config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        read_events(folder / "metrics.jsonl"),
        {log.parent.name: Curves.of(read_events(log)) for log in logs},
        answers,
        [str(said) for said in result.get("warnings", [])] + warnings,
    )


def read_result(path: Path) -> Result:
    """The content of a result.json, empty where there is none.

    Raises:
        RaykdError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        result = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RaykdError(str(path), f"is damaged: {error}", "delete it and run `raykd distill` again") from None
    if not isinstance(result, dict):
        raise RaykdError(str(path), "is damaged: no mapping", "delete it and run `raykd distill` again")
    return result


def section_type(config: str, section: str) -> str:
    """The `type` of a section of config.yaml, or the shorthand for it; empty where the text does not say."""
    return str(setting(config, section, "type") or "")


def setting(config: str, section: str, key: str) -> Any:
    """A key of a section of config.yaml (of a shorthand: `type`); None where the text does not say."""
    try:
        said = yaml.safe_load(config)
    except yaml.YAMLError:
        return None
    given = said.get(section) if isinstance(said, dict) else None
    return (given if isinstance(given, dict) else {"type": given}).get(key)


def _answers(path: Path) -> tuple[tuple[np.ndarray, np.ndarray] | None, list[str]]:
    """The true and predicted values of a regression, and a warning if the file cannot be read."""
    if not path.is_file():
        return None, []
    try:
        table = pq.read_table(path, columns=["label", "prediction"])
        true, predicted = (table[name].to_numpy().astype(np.float64) for name in ("label", "prediction"))
    except (OSError, ValueError, pa.ArrowException) as error:
        return None, [f"predictions.parquet cannot be read: {' '.join(str(error).split())[:200]}"]
    known = np.isfinite(true) & np.isfinite(predicted)
    return (true[known], predicted[known]), []

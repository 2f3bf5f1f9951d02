"""Reads a study's folder, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from raykd.errors import ConfigError
from raykd.records.log import read_events
from raykd.records.study_state import StudyState, TrialState
from raykd.report.run_files import Result, read_result


@dataclass(frozen=True)
class Study:
    """What a study's folder holds; `result` is empty while the study is not finished."""

    folder: Path
    state: StudyState
    result: Result = field(default_factory=dict)
    config: str = ""

    @property
    def name(self) -> str:
        return str(self.result.get("name") or self.folder.resolve().name)

    @property
    def metric(self) -> str:
        return self.state.metric or str(self.result.get("metric", "value"))

    @property
    def keys(self) -> list[str]:
        """The searched ones, the most important first where that is known."""
        ranked = list(self.result.get("importance") or {})
        return [*ranked, *(key for key in self.state.keys if key not in ranked)]

    @property
    def known(self) -> list[TrialState]:
        """Trials of the search that have a value: finished, running or stopped."""
        return [one for one in self.state.searched if one.value is not None and one.state != "failed"]


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's and not a run's."""
    path = Path(folder) / "metrics.jsonl"
    return path.is_file() and any(event["event"] == "study_plan" for event in read_events(path))


def read_study(folder: Path) -> Study:
    """Reads all that is there.

    Raises:
        ConfigError: the folder is no study's.
        RaykdError: result.json is damaged.
    """
    folder = Path(folder)
    if not is_study(folder):
        raise ConfigError(str(folder), "is no study's folder", "give the folder that `raykd study` wrote")
    state = StudyState()
    for event in read_events(folder / "metrics.jsonl"):
        state.apply(event)
    config = folder / "config.yaml"
    said = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    return Study(folder, state, read_result(folder / "result.json"), said)

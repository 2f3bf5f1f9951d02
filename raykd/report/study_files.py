"""Reads a study's folder, finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raykd.errors import ConfigError
from raykd.records.result import read_result
from raykd.records.study_result import StudyResult
from raykd.records.study_state import StudyState, TrialState
from raykd.report.run_files import read_text


@dataclass(frozen=True)
class Study:
    """What a study's folder holds; `result` is None while the study is not finished."""

    folder: Path
    state: StudyState
    result: StudyResult | None = None
    config_text: str = ""

    @property
    def name(self) -> str:
        """The study's name, or its folder's while it is not finished."""
        return self.result.name if self.result else self.folder.resolve().name

    @property
    def metric(self) -> str:
        """The metric that the search maximises."""
        return self.state.metric

    @property
    def keys(self) -> list[str]:
        """The searched ones, the most important first where that is known."""
        ranked = list(self.result.importance) if self.result else []
        return [*ranked, *(key for key in self.state.keys if key not in ranked)]

    @property
    def known(self) -> list[TrialState]:
        """Trials of the search that have a value: finished, running or stopped."""
        return [trial for trial in self.state.searched if trial.value is not None and trial.state != "failed"]


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's and not a run's."""
    return bool(StudyState.read(folder).metric)


def read_study(folder: Path) -> Study:
    """Reads all that is there.

    Raises:
        ConfigError: the folder is no study's.
        RunError: result.json is damaged or of another version.
    """
    folder = Path(folder)
    state, result = StudyState.read(folder), read_result(folder / "result.json")
    if not state.metric or not isinstance(result, StudyResult | None):
        raise ConfigError(str(folder), "is no study's folder", "give the folder that `raykd study` wrote")
    return Study(folder, state, result, read_text(folder / "config.yaml"))

"""What a finished study came to, as typed records; its result.json holds a `StudyResult`."""

from __future__ import annotations

from typing import Any, Literal

from raykd.records.events import Scores
from raykd.records.record import Record
from raykd.records.run_result import SCHEMA_VERSION, TeacherResult


class ConfigurationResult(Record):
    """One configuration of a study over its seeds; `runs` are values by trial name, `deviation` None for one seed."""

    trial: str
    params: dict[str, Any]
    runs: dict[str, float]
    values: list[float]
    mean: float
    deviation: float | None
    parameters: int | None
    latency_ms: float | None


class BestResult(ConfigurationResult):
    """The best configuration: the run that `best/` holds, and its scores on the test split where there is one."""

    run: str = ""
    folder: str = ""
    test: Scores | None = None


class TrialCounts(Record):
    """Trials of the search by how they ended."""

    done: int
    stopped: int
    failed: int

    @property
    def total(self) -> int:
        """Trials of the search, however they ended."""
        return self.done + self.stopped + self.failed


class Sharing(Record):
    """Rows that the teachers computed, beside what trials with a teacher and store of their own would have computed.

    Attributes:
        rows_used: counts a row each time that a student used a teacher's answer for it.
        rows_apart: what separate trials would have computed.
    """

    trials: int
    rows_computed: int
    rows_wanted: int
    rows_used: int
    rows_apart: int
    teacher_s: float
    saved_s: float
    targets_s: float
    trials_s: float


class StudyResult(Record):
    """A finished study.

    Attributes:
        value: the best configuration's mean over its seeds.
        repeated: configurations that ran over several seeds.
        front: by cost (parameters, latency_ms) the trials on the Pareto front, cheapest first.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["study"] = "study"
    name: str
    metric: str
    value: float
    best: BestResult
    repeated: list[ConfigurationResult]
    trials: TrialCounts
    searcher: str
    scheduler: str
    minimize: str | None
    space: dict[str, dict[str, Any]]
    importance: dict[str, float]
    front: dict[str, list[str]]
    teachers: list[TeacherResult]
    sharing: Sharing
    validation_rows: int
    concurrency: int | None
    warnings: list[str]
    seed: int
    versions: dict[str, str]
    seconds: float

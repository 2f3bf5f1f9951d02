"""What the students of several domains came to, as typed records; their result.json holds a `DomainsResult`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raykd.records.compare_result import Difference
from raykd.records.record import Record
from raykd.records.run_result import SCHEMA_VERSION, ScoredSplit


class ModelValues(Record):
    """The metric of the student, the baselines and the teachers by name; None where it is not a finite number.

    Attributes:
        differences: the student less each baseline. Of the m that hold together with 95 % are those of all domains with
            all baselines, or those of a mean with all baselines.
    """

    student: float | None
    baselines: dict[str, float | None]
    teachers: dict[str, float | None]
    differences: dict[str, Difference] = Field(default_factory=dict)

    @property
    def titled(self) -> dict[str, float | None]:
        """All values by title, in the order of tables: `teacher NAME`, `baseline NAME`, `student`."""
        teachers = {f"teacher {name}": value for name, value in self.teachers.items()}
        baselines = {f"baseline {name}": value for name, value in self.baselines.items()}
        return {**teachers, **baselines, "student": self.student}


class DomainResult(ModelValues):
    """A domain: its run's folder within the whole one, and its values on the reported split.

    Attributes:
        rows: of the reported split.
        train_rows: labelled ones that its student learnt from.
        seconds: of its run.
    """

    folder: str
    rows: int
    train_rows: int
    seconds: float


class SharedTeacherResult(Record):
    """A teacher as the runs of these domains share it, and what its one pass over all their rows cost.

    Attributes:
        address: content address of its soft targets.
    """

    name: str
    domains: list[str]
    parameters: int | None
    forwards: int
    rows_computed: int
    rows_reused: int
    seconds: float
    address: str


class DomainsResult(Record):
    """One student for each domain.

    Attributes:
        split: that all values are measured on: test where every model of every domain was scored on it.
        rows: of all domains on that split.
        macro: means over domains, each counting alike.
        micro: the metric over all rows together; of an accuracy that is the mean over rows.
        teachers: an entry for each teacher and set of domains that share it.
        alpha, resamples: of the intervals; the draws of rows are stratified by domain.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["domains"] = "domains"
    name: str
    metric: str
    split: ScoredSplit
    rows: int
    domains: dict[str, DomainResult]
    macro: ModelValues
    micro: ModelValues
    teachers: list[SharedTeacherResult]
    concurrency: int
    alpha: float
    resamples: int
    warnings: list[str]
    seed: int
    versions: dict[str, str]
    seconds: float

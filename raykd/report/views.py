"""What a page's templates show, as plain values: a template knows these and neither a run nor a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raykd.report.figures.picture import DrawnPicture


@dataclass(frozen=True)
class Mark:
    """A model on the meter; `place` is its distance from the left end, in per cent."""

    kind: str
    title: str
    value: str
    place: float


@dataclass(frozen=True)
class Meter:
    """Student alone, distilled student and best teacher on a line; left end and width of the gain, in per cent."""

    marks: list[Mark]
    left: float
    width: float


@dataclass(frozen=True)
class Headline:
    """The first sentences; `backticks` in the lead mark code."""

    lead: str
    caution: str = ""
    meter: Meter | None = None


@dataclass(frozen=True)
class Tile:
    """A key number with its title above and a note below."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers are aligned at their right."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table; its first cell names it."""

    cells: Sequence[str]
    highlighted: bool = False


@dataclass(frozen=True)
class Table:
    """A table; without any title it has no head."""

    columns: list[Column]
    rows: list[Row]

    @classmethod
    def of(cls, titles: Sequence[str], rows: list[Row], text: Sequence[int]) -> Table:
        """A table of numbers, except for the columns whose places are in `text`."""
        return cls([Column(title, k not in text) for k, title in enumerate(titles)], rows)


@dataclass(frozen=True)
class Section:
    """Paragraphs (`backticks` mark code), a table, notes below it, pictures."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    table: Table | None = None
    notes: list[str] = field(default_factory=list)
    pictures: list[DrawnPicture] = field(default_factory=list)


@dataclass(frozen=True)
class Reproduction:
    """What is needed to run it again: the configuration, and the seed, versions and fingerprints."""

    config: str
    versions: Table


@dataclass(frozen=True)
class RunPage:
    """The page of a run; a section is None where the run has nothing for it."""

    name: str
    headline: Headline
    tiles: list[Tile]
    warnings: list[str]
    models: Section | None
    method: Section | None
    pictures: Section
    weighting: Section | None
    feedback: Section | None
    prototypes: Section | None
    classes: Section | None
    efficiency: Section | None
    splits: Section | None
    reproduction: Reproduction


@dataclass(frozen=True)
class StudyPage:
    """The page of a study; a section is None where the study has nothing for it."""

    name: str
    headline: Headline
    tiles: list[Tile]
    warnings: list[str]
    summary: Section | None
    pictures: Section | None
    trials: Section | None
    reproduction: Reproduction


@dataclass(frozen=True)
class DomainsPage:
    """The page of the students of several domains; a section is None where there is nothing for it."""

    name: str
    headline: Headline
    tiles: list[Tile]
    warnings: list[str]
    values: Section | None
    differences: Section | None
    states: Section | None
    teachers: Section | None
    reproduction: Reproduction


@dataclass(frozen=True)
class ComparePage:
    """The page of a comparison of runs."""

    name: str
    headline: Headline
    tiles: list[Tile]
    warnings: list[str]
    differences: Section
    arms: Section
    runs: Section

"""What was matched inside a teacher, as a part of a result."""

from __future__ import annotations

from raykd.records.record import Record


class FeaturesResult(Record):
    """The features that the student matched, and what they cost the run.

    Attributes:
        teacher: whose they are.
        terms: β by the term's name.
        pairs: by term, the layers of student and teacher.
        columns: names of the teacher's inner outputs.
        stored: computed once and kept in the cache, else in each epoch.
        bytes: of all rows, about.
        rows_computed: rows of the teacher's forward passes for them, with their seconds.
    """

    teacher: str
    terms: dict[str, float]
    pairs: dict[str, list[tuple[int, int]]]
    columns: list[str]
    stored: bool
    bytes: int
    rows_computed: int
    seconds: float

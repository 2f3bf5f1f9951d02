"""How the domains of a meta-teacher's rows lie to one another, as a part of a result."""

from __future__ import annotations

from raykd.records.record import Record

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class PrototypeResult(Record):
    """Of the rows that a meta-teacher was trained on.

    Attributes:
        rows: by domain, how many.
        scores: by domain, the quantiles 5, 25, 50, 75 and 95 % of the rows' prototype scores t.
        nearest: by domain, the share of its rows that are nearest to the prototype of each domain, of the row's class.
    """

    rows: dict[str, int]
    scores: dict[str, list[float]]
    nearest: dict[str, dict[str, float]]

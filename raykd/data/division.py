"""Which rows of a corpus feed which signal, and which groups of rows were kept together for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raykd.config import DataConfig
from raykd.data.containment import Containment, containment
from raykd.data.groups import Groups, by_column, by_containment
from raykd.data.holdout import draw_budget, holdout, in_domains
from raykd.data.pool import Pool, in_memory
from raykd.errors import DataError

SCORED, HELD_OUT = ("validation", "test"), ("validation", "test", "quiz", "reward")
"""Signals that models are scored on, and those whose texts no row without a label may repeat."""
LOOKED_AT = 5_000_000
"""Characters of a corpus of single texts that are looked for in one another unasked: about a second."""


@dataclass(frozen=True)
class Division:
    """The parts of a corpus.

    Attributes:
        ids: signal → the ids that feed it, see `Corpus`.
        teachable: ids of all rows with labels that are not held out and of no group that is.
        dropped: rows without labels that are not used.
        groups: of the training file's rows, where data.group is set.
        inside: held-out signal → how many of its rows stand inside a row that is learnt from; empty if not looked for.
    """

    ids: dict[str, np.ndarray]
    teachable: np.ndarray
    dropped: int = 0
    groups: Groups | None = None
    inside: dict[str, int] = field(default_factory=dict)


def divide(together: Pool, scored: dict[str, pa.Table], places: Mapping[str, str], data: DataConfig) -> Division:
    """Divides the training file's rows among the signals.

    Args:
        scored: validation and test, where they have a split of their own.
        places: by source its file or split, for messages.

    Raises:
        DataError: a domain is unknown, or a part would be empty.
    """
    rows = together.rows
    labeled = budget = rest = np.empty(0, np.int64)
    if data.train is not None:
        labeled = in_domains(rows, together.ids["train"], data.domains, places["train"])
        budget, rest = draw_budget(rows, labeled, data, places["train"])
    others = _without_labels(together, rest, places, data)
    found, groups = _look(together, scored, data), None
    if data.group is not None:
        groups = _groups(together, found, labeled, others, data)
    ids = {"train": budget}
    if data.train is not None:
        ids = holdout(rows, budget, data, places["train"], groups)
    drawn = _together([part for name, part in ids.items() if name != "train"])
    ids |= _of_files(together, scored, places, data)
    parts = {name: ids[name] for name in HELD_OUT if name in ids}
    teachable = np.setdiff1d(labeled, _together([part for name, part in parts.items() if name not in scored]))
    if groups is not None:
        teachable = np.setdiff1d(teachable, groups.beside(teachable, drawn))
    if data.unlabeled is None:
        return Division(ids, teachable, 0, groups, _inside(found, ids, together, scored))
    texts = [(in_memory(scored[name]) if name in scored else rows).sentences(part) for name, part in parts.items()]
    excluded = pc.is_in(rows.sentences(others), value_set=pa.concat_arrays(texts)).to_numpy(zero_copy_only=False)
    if groups is not None:
        excluded = excluded | np.isin(others, groups.beside(others, drawn))
    if excluded.all():
        mend = "their texts are all in splits that are held out: see data.unlabeled"
        raise DataError(places[_source_of(data)], "no row without a label is left", mend)
    ids["unlabeled"] = _some(others[~excluded], data.unlabeled.max_rows, data.seed)
    return Division(ids, teachable, int(excluded.sum()), groups, _inside(found, ids, together, scored))


def _of_files(
    together: Pool, scored: dict[str, pa.Table], places: Mapping[str, str], data: DataConfig
) -> dict[str, np.ndarray]:
    """Signal → ids of what has a split or file of its own, by domain."""
    of_file = {name: (in_memory(table), np.arange(table.num_rows, dtype=np.int64)) for name, table in scored.items()}
    of_file |= {name: (together.rows, together.ids[name]) for name in ("quiz", "reward") if name in together.ids}
    return {name: in_domains(own, every, data.domains, places[name]) for name, (own, every) in of_file.items()}


def _together(parts: list[np.ndarray]) -> np.ndarray:
    """The ids of all parts, of which there may be none."""
    return np.concatenate([np.empty(0, np.int64), *parts])


def _source_of(data: DataConfig) -> str:
    """The source that rows without labels are of."""
    return "train" if data.unlabeled is not None and data.unlabeled.is_rest else "unlabeled"


def _without_labels(together: Pool, rest: np.ndarray, places: Mapping[str, str], data: DataConfig) -> np.ndarray:
    """The rows without labels, whatever is held out."""
    if data.unlabeled is None:
        return np.empty(0, np.int64)
    pooled = rest if data.unlabeled.is_rest else together.ids["unlabeled"]
    where = places[_source_of(data)]
    return in_domains(together.rows, pooled, data.unlabeled.domains, where, "data.unlabeled.domains")


def _some(ids: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """At most so many of the ids, ascending; which ones depends on the seed alone."""
    if most is None or most >= len(ids):
        return ids
    return np.sort(np.random.default_rng([seed, *b"unlabeled"]).permutation(ids)[:most])


def _look(together: Pool, scored: dict[str, pa.Table], data: DataConfig) -> Containment | None:
    """All texts in one another, the training file's first: where groups are kept, and where a part is held out of a
    small file, so that a person learns of it."""
    tables = [together.table, *scored.values()]
    columns = [name for name in ("text", "text_pair") if name in together.table.column_names]
    if data.group is None:
        characters = sum(
            pc.sum(pc.utf8_length(table.column(name))).as_py() or 0 for table in tables for name in columns
        )
        if not data.shares or characters > LOOKED_AT:
            return None
    texts = [[text for table in tables for text in table.column(name).to_pylist()] for name in columns]
    return containment(texts[0], texts[1] if len(texts) > 1 else None)


def _groups(
    together: Pool, found: Containment | None, labeled: np.ndarray, others: np.ndarray, data: DataConfig
) -> Groups:
    """The groups of the training file's rows; `others`: ids of those without labels."""
    if together.groups is not None:
        return by_column(str(data.group), together.groups, labeled)
    assert found is not None
    among = np.zeros(len(found.number), dtype=bool)
    among[labeled] = among[others] = True
    return by_containment(found, among, len(together.rows), labeled)


def _inside(
    found: Containment | None, ids: dict[str, np.ndarray], together: Pool, scored: dict[str, pa.Table]
) -> dict[str, int]:
    """Held-out signal → its rows that stand inside, or equal, one that is learnt from; for the signals that models are
    scored on a quiz and a reward are too, since baselines learn from them. Empty if not looked for."""
    if found is None:
        return {}
    start, first = {}, len(together.rows)
    for name, table in scored.items():
        start[name], first = first, first + table.num_rows
    learnt = np.zeros(len(found.number), dtype=bool)
    inside: dict[str, int] = {}
    for signals, held_out in ((("train", "unlabeled"), ("quiz", "reward")), (("quiz", "reward"), SCORED)):
        for name in signals:
            learnt[ids.get(name, [])] = True
        hits = found.inside(learnt)
        inside |= {name: int(hits[ids[name] + start.get(name, 0)].sum()) for name in held_out if name in ids}
    return {name: inside[name] for name in HELD_OUT if name in inside}

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
from raykd.data.holdout import holdout, in_domains
from raykd.data.labeled import LabeledRows, labeled_rows
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
        teachable: ids of all rows with labels that are not held out and of no group that is, see `Corpus`.
        teacher_train: ids of those that a teacher without a budget of its own learns from.
        teacher_validation: ids of the validation's rows that its checkpoint is chosen by.
        dropped: rows without labels that are not used.
        groups: of the training file's rows, where data.group is set.
        inside: held-out signal → how many of its rows stand inside a row that is learnt from; empty if not looked for.
    """

    ids: dict[str, np.ndarray]
    teachable: np.ndarray
    teacher_train: np.ndarray
    teacher_validation: np.ndarray
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
    rows, labeled = together.rows, labeled_rows(together, places, data)
    others = _without_labels(together, labeled, places, data)
    found, groups = _look(together, scored, data), None
    if data.group is not None:
        groups = _groups(together, found, labeled, others, data)
    ids = {"train": labeled.budget}
    if data.train is not None:
        ids = holdout(rows, labeled.budget, data, places["train"], groups)
    drawn = _together([part for name, part in ids.items() if name != "train"])
    ids |= _of_files(together, scored, places, data)
    teachable = np.setdiff1d(labeled.teachable, drawn)
    if groups is not None:
        teachable = np.setdiff1d(teachable, groups.beside(teachable, drawn))
    teacher_train, teacher_validation = ids["train"], ids["validation"]
    if data.target_domain is not None:
        teacher_train = teachable
        if "validation" in scored:
            teacher_validation = np.arange(scored["validation"].num_rows, dtype=np.int64)
    dropped = 0
    if data.unlabeled is not None:
        beside = groups.beside(others, drawn) if groups is not None else others[:0]
        kept = _not_held_out(others, beside, ids, together, scored)
        if not len(kept):
            mend = "their texts are all in splits that are held out: see data.unlabeled"
            raise DataError(places[_source_of(data)], "no row without a label is left", mend)
        dropped, ids["unlabeled"] = len(others) - len(kept), _some(kept, data.unlabeled.max_rows, data.seed)
    inside = _inside(found, ids | {"train": teacher_train}, together, scored)
    return Division(ids, teachable, teacher_train, teacher_validation, dropped, groups, inside)


def _not_held_out(
    others: np.ndarray, beside: np.ndarray, ids: dict[str, np.ndarray], together: Pool, scored: dict[str, pa.Table]
) -> np.ndarray:
    """The rows without labels whose texts no held-out part has, nor a group (`beside`) that is held out."""
    parts = {name: ids[name] for name in HELD_OUT if name in ids}
    texts = [
        (in_memory(scored[name]) if name in scored else together.rows).sentences(part) for name, part in parts.items()
    ]
    repeated = pc.is_in(together.rows.sentences(others), value_set=pa.concat_arrays(texts))
    return np.setdiff1d(others[~repeated.to_numpy(zero_copy_only=False)], beside)


def _of_files(
    together: Pool, scored: dict[str, pa.Table], places: Mapping[str, str], data: DataConfig
) -> dict[str, np.ndarray]:
    """Signal → ids of what has a split or file of its own, of the student's domains."""
    domains, key = data.student_domains
    of_file = {name: (in_memory(table), np.arange(table.num_rows, dtype=np.int64)) for name, table in scored.items()}
    of_file |= {name: (together.rows, together.ids[name]) for name in ("quiz", "reward") if name in together.ids}
    return {name: in_domains(own, every, domains, places[name], key) for name, (own, every) in of_file.items()}


def _together(parts: list[np.ndarray]) -> np.ndarray:
    """The ids of all parts, of which there may be none."""
    return np.concatenate([np.empty(0, np.int64), *parts])


def _source_of(data: DataConfig) -> str:
    """The source that rows without labels are of."""
    return "train" if data.unlabeled is not None and data.unlabeled.is_rest else "unlabeled"


def _without_labels(together: Pool, labeled: LabeledRows, places: Mapping[str, str], data: DataConfig) -> np.ndarray:
    """The rows without labels, whatever is held out: of the target domain where no other is named for them."""
    extra = data.unlabeled
    if extra is None:
        return np.empty(0, np.int64)
    if extra.is_rest and extra.domains is None:
        return labeled.rest
    pooled = np.union1d(labeled.rest, labeled.elsewhere) if extra.is_rest else together.ids["unlabeled"]
    domains, key = extra.domains, "data.unlabeled.domains"
    if domains is None and data.target_domain is not None:
        domains, key = data.student_domains
    return in_domains(together.rows, pooled, domains, places[_source_of(data)], key)


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
    together: Pool, found: Containment | None, labeled: LabeledRows, others: np.ndarray, data: DataConfig
) -> Groups:
    """The groups of the training file's rows; `others`: ids of those without labels."""
    if together.groups is not None:
        return by_column(str(data.group), together.groups, labeled.own)
    assert found is not None
    among = np.zeros(len(found.number), dtype=bool)
    among[labeled.own] = among[labeled.elsewhere] = among[others] = True
    return by_containment(found, among, len(together.rows), labeled.own)


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

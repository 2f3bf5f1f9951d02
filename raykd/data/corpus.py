"""The corpus of a run: loads and checks the splits, keeps them in the cache, assigns rows to signals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raykd.config import DataConfig, TaskConfig
from raykd.data.division import Division, divide
from raykd.data.groups import Groups
from raykd.data.load import checks, labels, sources
from raykd.data.load.columns import RawSplit
from raykd.data.pool import pool
from raykd.data.rows import Rows
from raykd.data.splits import Split, write_split
from raykd.errors import DataError

__all__ = ["Corpus", "Rows", "Split", "load"]

INSIDE = 0.05
"""A share of held-out rows inside training rows that is worth a warning."""


@dataclass(frozen=True)
class Corpus:
    """What a run learns from.

    Attributes:
        splits: by name. `train` holds all rows that any signal but validation and test may use: those with labels, and
            those without, whose label is −1 or NaN there.
        ids: signal (train, unlabeled, validation, quiz, reward, test) → the ids that feed it, int64, ascending,
            disjoint.
        source: signal → the split that its ids index.
        labels: class names, or None for a regression.
        named: False when the names are generic, since neither the configuration nor the data has any.
        target: data.target_domain, the domain that all signals of `ids` are of; None where it is not set.
        overlap: rows of the validation that are in train as well (text and pair), with a target domain also among the
            rows of its teachers; they are kept.
        teachable: ids of all rows with labels that are not held out, nor of a group that is, whatever the budget; of a
            target domain those of the budget alone. The split `loaded` has their labels, or `train` where that is not
            there.
        teacher_validation: ids of the validation's rows that choose the checkpoint of a teacher: with a target domain
            those of all domains.
        dropped: rows without labels that are not used, since their text or their group is held out.
        groups: of the training file's rows by data.group; None where it is not set.
        inside: held-out signal → how many of its rows stand inside a row that is learnt from; empty where that was not
            looked for.
        warnings: what a person should know.
    """

    splits: dict[str, Split]
    ids: dict[str, np.ndarray]
    source: dict[str, str]
    labels: list[str] | None
    named: bool
    target: str | None
    overlap: int
    teachable: np.ndarray
    teacher_validation: np.ndarray
    dropped: int
    groups: Groups | None
    inside: dict[str, int]
    warnings: list[str]

    def rows(self, signal: str) -> Rows:
        """Opens the split that feeds this signal."""
        split = self.splits[self.source[signal]]
        return split.open()

    @property
    def teacher_train(self) -> np.ndarray:
        """Ids of the rows that a teacher without a budget of its own is fine-tuned on: the student's, and with a target
        domain all labelled rows of the other domains that are not held out."""
        return self.ids["train"] if self.target is None else self.teachable


def load(data: DataConfig, task: TaskConfig, cache: Path) -> Corpus:
    """Reads, checks, remembers and divides the data.

    Raises:
        DataError: anything about the data that cannot be used; one line with the place and the mend.
    """
    read = sources.read(data)
    for source in read.values():
        checks.not_empty(source)
    _alike(read)
    first = read["validation" if data.train is None else "train"]
    classes = labels.resolve_classes(first, task) if task.type == "classification" else None
    tables = {name: _checked(source, classes, labeled=name != "unlabeled") for name, source in read.items()}
    scored = {str(name): tables.pop(name) for name in ("validation", "test") if name in tables}
    together = pool(tables, scored)
    parts = divide(together, scored, {name: source.where for name, source in read.items()}, data)
    ids, kept_labels = parts.ids, together.rows.labels(parts.ids["train"])
    if data.train is not None:
        _learnable(kept_labels, first, classes, data.student_domains[1])
    splits = {"train": write_split("train", together.without_labels(ids.get("unlabeled")), cache)}
    if data.unlabeled is not None and data.unlabeled.is_rest:
        splits["loaded"] = write_split("loaded", together.table, cache)
    splits |= {name: write_split(name, table, cache) for name, table in scored.items()}
    origin = {signal: signal if signal in splits else "train" for signal in ids}
    opened = {name: split.open() for name, split in splits.items()}
    overlap = _overlap(ids | {"train": parts.teacher_train}, {signal: opened[name] for signal, name in origin.items()})
    warnings = _warnings(kept_labels, classes, overlap, parts, data)
    names, named = (classes.names, classes.named) if classes else (None, False)
    return Corpus(
        splits, ids, origin, names, named, data.target_domain, overlap, parts.teachable, parts.teacher_validation,
        parts.dropped, parts.groups, parts.inside, warnings,
    )  # fmt: skip


def _checked(source: RawSplit, classes: labels.Classes | None, labeled: bool) -> pa.Table:
    """The split in the form in which it is kept."""
    columns = {"text": checks.text(source, "text")}
    if "text_pair" in source.table.column_names:
        columns["text_pair"] = checks.text(source, "text_pair")
    if labeled:
        columns["label"] = labels.values(source) if classes is None else labels.class_ids(source, classes)
    for role in ("domain", "group"):
        if role in source.table.column_names:
            columns[role] = checks.names(source, role)
    return pa.table(columns)


def _alike(sources: dict[str, RawSplit]) -> None:
    """Refuses splits of which some have pairs and others have not."""
    paired = {name: "text_pair" in source.table.column_names for name, source in sources.items()}
    first = "train" if "train" in paired else "unlabeled"
    for name, has in paired.items():
        if has != paired[first]:
            with_, without = (name, first) if has else (first, name)
            what = f"has no second sentence, and {sources[with_].where} has"
            raise DataError(sources[without].where, what, "set data.text_pair to a column that both have")


def _learnable(kept: np.ndarray, train: RawSplit, classes: labels.Classes | None, key: str) -> None:
    """Refuses training rows that all have one label; `key` filters them by domain."""
    if len(np.unique(kept)) > 1:
        return
    label = f"label {kept[0]:g}" if classes is None else f"class {kept[0]} ({classes.names[int(kept[0])]})"
    what = f"all {len(kept)} rows kept for training have {label}"
    mend = f"nothing can be learnt: see {key}, data.max_train_rows and the file"
    raise DataError(train.place("label"), what, mend)


def _overlap(ids: dict[str, np.ndarray], rows: dict[str, Rows]) -> int:
    """Validation rows whose text and pair are among the rows of train, quiz and reward too."""
    validation = rows["validation"].sentences(ids["validation"])
    repeated = []
    for signal in ("train", "quiz", "reward"):
        if signal in ids:
            learnt = rows[signal].sentences(ids[signal])
            repeated.append(learnt.filter(pc.is_in(learnt, value_set=validation)))  # a table of the fewer rows
    return int(pc.sum(pc.is_in(validation, value_set=pa.concat_arrays(repeated))).as_py())


def _warnings(
    kept: np.ndarray, classes: labels.Classes | None, overlap: int, parts: Division, data: DataConfig
) -> list[str]:
    warnings, ids = [], parts.ids
    if overlap:
        warnings.append(f"{overlap} of {len(ids['validation'])} validation rows are in train as well; they are kept")
    if classes is not None and len(kept):
        present = set(np.unique(kept).tolist())
        absent = [name for k, name in enumerate(classes.names) if k not in present]
        if absent:
            warnings.append(f"no training row has the label {', '.join(absent)}")
    if parts.dropped:
        of_group = "" if parts.groups is None else ", or rows of their groups are"
        warnings.append(
            f"{parts.dropped} rows without labels are not used: their texts are in a split that is held out{of_group}"
        )
    drawn = [key.removesuffix("_from_train") for key in data.shares] if data.group is None else []
    for signal in drawn:
        count, rows = parts.inside.get(signal, 0), len(ids[signal])
        if count > INSIDE * rows:
            mend = "data.group=contained keeps such texts on one side"
            warnings.append(f"{count} of {rows} {signal} rows stand inside a training row: {mend}")
    return warnings

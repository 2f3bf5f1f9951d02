"""The corpus of a run: loads and checks the splits, keeps them in the cache, assigns rows to signals."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raykd.config import DataConfig, GeneratorConfig, TaskConfig
from raykd.data.generated import generator
from raykd.data.holdout import draw_budget, holdout, in_domains
from raykd.data.load import checks, files, labels
from raykd.data.load.columns import ColumnNames, RawSplit
from raykd.data.pool import Pool, in_memory, pool
from raykd.data.rows import Rows
from raykd.data.splits import Split, write_split
from raykd.errors import DataError

__all__ = ["Corpus", "Rows", "Split", "load"]

HELD_OUT = ("validation", "test", "quiz", "reward")
"""Signals whose texts no row without a label may repeat."""


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
        overlap: rows of the validation that are in train as well (text and pair); they are kept.
        teachable: ids of all rows with labels that are not held out, whatever the budget; the split `loaded` has their
            labels, or `train` where that is not there.
        dropped: rows without labels that are not used, since their text stands in a split that is held out.
        warnings: what a person should know.
    """

    splits: dict[str, Split]
    ids: dict[str, np.ndarray]
    source: dict[str, str]
    labels: list[str] | None
    named: bool
    overlap: int
    teachable: np.ndarray
    dropped: int
    warnings: list[str]

    def rows(self, signal: str) -> Rows:
        """Opens the split that feeds this signal."""
        split = self.splits[self.source[signal]]
        return Rows.open(split.path, split.fingerprint)


def load(data: DataConfig, task: TaskConfig, cache: Path) -> Corpus:
    """Reads, checks, remembers and divides the data.

    Raises:
        DataError: anything about the data that cannot be used; one line with the place and the mend.
    """
    sources = _read(data)
    for source in sources.values():
        checks.not_empty(source)
    _alike(sources)
    classes = labels.resolve_classes(sources["train"], task) if task.type == "classification" else None
    tables = {name: _checked(source, classes, labeled=name != "unlabeled") for name, source in sources.items()}
    scored = {str(name): tables.pop(name) for name in ("validation", "test") if name in tables}
    together = pool(tables)
    ids, teachable, dropped = _divide(together, scored, sources, data)
    kept_labels = together.rows.labels(ids["train"])
    _learnable(kept_labels, sources["train"], classes)
    splits = {"train": write_split("train", together.without_labels(ids.get("unlabeled")), cache)}
    if data.unlabeled is not None and data.unlabeled.is_rest:
        splits["loaded"] = write_split("loaded", together.table, cache)
    splits |= {name: write_split(name, table, cache) for name, table in scored.items()}
    origin = {signal: signal if signal in splits else "train" for signal in ids}
    opened = {name: Rows.open(split.path, split.fingerprint) for name, split in splits.items()}
    overlap = _overlap(ids, {signal: opened[name] for signal, name in origin.items()})
    warnings = _warnings(kept_labels, classes, overlap, len(ids["validation"]))
    if dropped:
        warnings.append(f"{dropped} rows without labels are not used: their texts are in a split that is held out")
    names, named = (classes.names, classes.named) if classes else (None, False)
    return Corpus(splits, ids, origin, names, named, overlap, teachable, dropped, warnings)


def _divide(
    together: Pool, scored: dict[str, pa.Table], sources: dict[str, RawSplit], data: DataConfig
) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """Signal → ids, the rows that teachers may be fine-tuned on, and how many rows without labels are dropped."""
    rows, where = together.rows, sources["train"].where
    labeled = in_domains(rows, together.ids["train"], data.domains, where)
    budget, rest = draw_budget(rows, labeled, data, where)
    ids, held_out = holdout(rows, budget, data, where), []
    for name, table in scored.items():
        own = in_memory(table)
        ids[name] = in_domains(own, np.arange(len(own), dtype=np.int64), data.domains, sources[name].where)
        held_out.append(own.sentences(ids[name]))
    for name in ("quiz", "reward"):
        if name in together.ids:
            ids[name] = in_domains(rows, together.ids[name], data.domains, sources[name].where)
    parts = [ids[name] for name in HELD_OUT if name in ids and name not in scored]
    held_out += [rows.sentences(part) for part in parts]
    teachable = np.setdiff1d(labeled, np.concatenate([np.empty(0, np.int64), *parts]))
    if data.unlabeled is None:
        return ids, teachable, 0
    pooled = rest if data.unlabeled.is_rest else together.ids["unlabeled"]
    where = where if data.unlabeled.is_rest else sources["unlabeled"].where
    others = in_domains(rows, pooled, data.unlabeled.domains, where, "data.unlabeled.domains")
    repeated = pc.is_in(rows.sentences(others), value_set=pa.concat_arrays(held_out)).to_numpy(zero_copy_only=False)
    if repeated.all():
        mend = "their texts are all in splits that are held out: see data.unlabeled"
        raise DataError(where, "no row without a label is left", mend)
    ids["unlabeled"] = _some(others[~repeated], data.unlabeled.max_rows, data.seed)
    return ids, teachable, int(repeated.sum())


def _some(ids: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """At most so many of the ids, ascending; which ones depends on the seed alone."""
    if most is None or most >= len(ids):
        return ids
    return np.sort(np.random.default_rng([seed, *b"unlabeled"]).permutation(ids)[:most])


def _read(data: DataConfig) -> dict[str, RawSplit]:
    """The splits that are used; a validation that is held out of train replaces the published one, unread."""
    wanted = {"train": data.train}
    if data.validation_from_train == 0:
        wanted["validation"] = data.validation
    if data.test is not None:
        wanted["test"] = data.test
    wanted |= {name: split for name in ("quiz", "reward") if isinstance(split := getattr(data, name), str)}
    names = ColumnNames.labeled(data)
    sources = {name: _source(data.source, data.subset, split, name, names, data) for name, split in wanted.items()}
    extra = data.unlabeled
    if extra is not None and not extra.is_rest:
        source, subset = (extra.source, extra.subset) if extra.source is not None else (data.source, data.subset)
        names = ColumnNames.unlabeled(data, extra)
        sources["unlabeled"] = _source(source, subset, extra.split, "unlabeled", names, data)
    return sources


def _source(source: str, subset: str | None, split: str, name: str, wanted: ColumnNames, data: DataConfig) -> RawSplit:
    """One split of a generated corpus, a folder or a hub data set."""
    if source == "generated":
        return _generated(_drawn(data.generated), split)
    path = Path(source).expanduser()
    if path.exists():
        return files.read(files.find(path, split, name), wanted)
    if path.is_absolute() or source.startswith((".", "~")) or path.suffix in files.READERS:
        raise DataError(source, "no such file or folder", f"set {wanted.key}.source")
    from raykd.data.load import hub  # `datasets` takes a second to import, and local files do not need it

    return hub.read(source, subset, split, wanted)


@functools.lru_cache(maxsize=1)  # one corpus has several splits
def _drawn(config: GeneratorConfig) -> dict[str, pa.Table]:
    return generator.generate(config)


def _generated(tables: dict[str, pa.Table], split: str) -> RawSplit:
    if split not in tables:
        raise DataError("generated corpus", f"no split {split!r}", f"it has {' and '.join(tables)}")
    return RawSplit(tables[split], f"generated corpus, {split}", {name: name for name in tables[split].column_names})


def _checked(source: RawSplit, classes: labels.Classes | None, labeled: bool) -> pa.Table:
    """The split in the form in which it is kept."""
    columns = {"text": checks.text(source, "text")}
    if "text_pair" in source.table.column_names:
        columns["text_pair"] = checks.text(source, "text_pair")
    if labeled:
        columns["label"] = labels.values(source) if classes is None else labels.class_ids(source, classes)
    if "domain" in source.table.column_names:
        columns["domain"] = checks.domain(source)
    return pa.table(columns)


def _alike(sources: dict[str, RawSplit]) -> None:
    """Refuses splits of which some have pairs and others have not."""
    paired = {name: "text_pair" in source.table.column_names for name, source in sources.items()}
    for name, has in paired.items():
        if has != paired["train"]:
            with_, without = (name, "train") if has else ("train", name)
            what = f"has no second sentence, and {sources[with_].where} has"
            raise DataError(sources[without].where, what, "set data.text_pair to a column that both have")


def _learnable(kept: np.ndarray, train: RawSplit, classes: labels.Classes | None) -> None:
    """Refuses training rows that all have one label."""
    if len(np.unique(kept)) > 1:
        return
    label = f"label {kept[0]:g}" if classes is None else f"class {kept[0]} ({classes.names[int(kept[0])]})"
    what = f"all {len(kept)} rows kept for training have {label}"
    mend = "nothing can be learnt: see data.domains, data.max_train_rows and the file"
    raise DataError(train.place("label"), what, mend)


def _overlap(ids: dict[str, np.ndarray], rows: dict[str, Rows]) -> int:
    """Validation rows whose text and pair are among the rows of train, quiz and reward too."""
    learnt = [rows[signal].sentences(ids[signal]) for signal in ("train", "quiz", "reward") if signal in ids]
    validation = rows["validation"].sentences(ids["validation"])
    return int(pc.sum(pc.is_in(validation, value_set=pa.concat_arrays(learnt))).as_py())


def _warnings(kept: np.ndarray, classes: labels.Classes | None, overlap: int, validation: int) -> list[str]:
    warnings = []
    if overlap:
        warnings.append(f"{overlap} of {validation} validation rows are in train as well; they are kept")
    if classes is not None:
        absent = [name for k, name in enumerate(classes.names) if k not in set(kept.tolist())]
        if absent:
            warnings.append(f"no training row has the label {', '.join(absent)}")
    return warnings

"""The corpus of a run: loads and checks the splits, keeps them in the cache, assigns rows to signals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from raykd.config import DataConfig, TaskConfig
from raykd.data.generated import generator
from raykd.data.holdout import holdout, in_domains
from raykd.data.load import checks, files, labels
from raykd.data.load.columns import RawSplit
from raykd.data.rows import Rows
from raykd.data.splits import Split, write_split
from raykd.errors import DataError

__all__ = ["Corpus", "Rows", "Split", "load"]


@dataclass(frozen=True)
class Corpus:
    """What a run learns from.

    Attributes:
        splits: by name, as loaded: nothing held out, filtered or cut.
        ids: signal (train, validation, quiz, reward, test) → the ids that feed it, int64, ascending, disjoint.
        source: signal → the split that its ids index.
        labels: class names, or None for a regression.
        named: False when the names are generic, since neither the configuration nor the data has any.
        overlap: rows of the validation that are in train as well (text and pair); they are kept.
        warnings: what a person should know.
    """

    splits: dict[str, Split]
    ids: dict[str, np.ndarray]
    source: dict[str, str]
    labels: list[str] | None
    named: bool
    overlap: int
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
    splits = {name: write_split(name, _checked(source, classes), cache) for name, source in sources.items()}
    opened = {name: Rows.open(split.path, split.fingerprint) for name, split in splits.items()}
    kept = {name: in_domains(opened[name], data.domains, source.where) for name, source in sources.items()}
    ids = {**kept, **holdout(opened["train"], kept["train"], data, sources["train"].where)}
    origin = {signal: signal if signal in splits else "train" for signal in ids}
    kept_labels = opened["train"].labels(ids["train"])
    _learnable(kept_labels, sources["train"], classes)
    overlap = _overlap(ids, {signal: opened[name] for signal, name in origin.items()})
    warnings = _warnings(kept_labels, classes, overlap, len(ids["validation"]))
    names, named = (classes.names, classes.named) if classes else (None, False)
    return Corpus(splits, ids, origin, names, named, overlap, warnings)


def _read(data: DataConfig) -> dict[str, RawSplit]:
    """The splits that are used; a validation that is held out of train replaces the published one, unread."""
    wanted = {"train": data.train}
    if data.validation_from_train == 0:
        wanted["validation"] = data.validation
    if data.test is not None:
        wanted["test"] = data.test
    if data.source == "generated":
        tables = generator.generate(data.generated)
        return {name: _generated(tables, split) for name, split in wanted.items()}
    path = Path(data.source).expanduser()
    if path.exists():
        return {name: files.read(files.find(path, split, name), data) for name, split in wanted.items()}
    if path.is_absolute() or data.source.startswith((".", "~")) or path.suffix in files.READERS:
        raise DataError(data.source, "no such file or folder", "set data.source")
    from raykd.data.load import hub  # `datasets` takes a second to import, and local files do not need it

    return {name: hub.read(data, split) for name, split in wanted.items()}


def _generated(tables: dict[str, pa.Table], split: str) -> RawSplit:
    if split not in tables:
        raise DataError("generated corpus", f"no split {split!r}", f"it has {' and '.join(tables)}")
    return RawSplit(tables[split], f"generated corpus, {split}", {name: name for name in tables[split].column_names})


def _checked(source: RawSplit, classes: labels.Classes | None) -> pa.Table:
    """The split in the form in which it is kept."""
    columns = {"text": checks.text(source, "text")}
    if "text_pair" in source.table.column_names:
        columns["text_pair"] = checks.text(source, "text_pair")
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
    raise DataError(train.place("label"), what, "nothing can be learnt: see data.domains, data.limit and the file")


def _overlap(ids: dict[str, np.ndarray], rows: dict[str, Rows]) -> int:
    """Validation rows whose text and pair are among the rows of train, quiz and reward too."""
    validation = _keys(rows["validation"], ids["validation"])
    seen = set(validation).intersection(
        key for signal in ("train", "quiz", "reward") if signal in ids for key in _keys(rows[signal], ids[signal])
    )
    return sum(key in seen for key in validation)


def _keys(rows: Rows, ids: np.ndarray) -> list[tuple[str, str]]:
    texts = rows.texts(ids)
    return list(zip(texts, rows.pairs(ids) or [""] * len(texts), strict=True))


def _warnings(kept: np.ndarray, classes: labels.Classes | None, overlap: int, validation: int) -> list[str]:
    warnings = []
    if overlap:
        warnings.append(f"{overlap} of {validation} validation rows are in train as well; they are kept")
    if classes is not None:
        absent = [name for k, name in enumerate(classes.names) if k not in set(kept.tolist())]
        if absent:
            warnings.append(f"no training row has the label {', '.join(absent)}")
    return warnings

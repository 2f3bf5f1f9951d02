"""The splits of a configuration as they are read, from local files, the hub or the generator."""

from __future__ import annotations

import functools
from pathlib import Path

import pyarrow as pa

from raykd.config import DataConfig, GeneratorConfig
from raykd.data.generated import generator
from raykd.data.load import files
from raykd.data.load.columns import ColumnNames, RawSplit, choose, pick
from raykd.errors import DataError


def read(data: DataConfig) -> dict[str, RawSplit]:
    """The splits that are used, by name; a validation that is held out of train replaces the published one, unread.

    Raises:
        DataError: one is missing or cannot be read, or has not the configured columns.
    """
    wanted = {} if data.train is None else {"train": data.train}
    if data.validation_from_train == 0:
        wanted["validation"] = data.validation
    if data.test is not None:
        wanted["test"] = data.test
    wanted |= {name: split for name in ("quiz", "reward") if isinstance(split := getattr(data, name), str)}
    sources = {
        name: _source(data.source, data.subset, split, name, ColumnNames.labeled(data, name == "train"), data)
        for name, split in wanted.items()
    }
    extra = data.unlabeled
    if extra is not None and not extra.is_rest:
        source, subset = (extra.source, extra.subset) if extra.source is not None else (data.source, data.subset)
        names = ColumnNames.unlabeled(data, extra)
        sources["unlabeled"] = _source(source, subset, extra.split, "unlabeled", names, data)
    return sources


def _source(source: str, subset: str | None, split: str, name: str, wanted: ColumnNames, data: DataConfig) -> RawSplit:
    """One split of a generated corpus, a folder or a hub data set."""
    if source == "generated":
        return _generated(_drawn(data.generated), split, wanted)
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


def _generated(tables: dict[str, pa.Table], split: str, wanted: ColumnNames) -> RawSplit:
    """A split of the generated corpus, whose columns have the names of their roles whatever else is configured."""
    if split not in tables:
        raise DataError("generated corpus", f"no split {split!r}", f"it has {' and '.join(tables)}")
    where, own = f"generated corpus, {split}", ColumnNames(label=wanted.label and "label", group=wanted.group)
    names = choose(own, tables[split].column_names, where)
    return RawSplit(pick(tables[split], names, own), where, names)

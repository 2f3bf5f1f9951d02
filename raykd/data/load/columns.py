"""Which columns of a source are used: the configured ones, and the optional ones where they are there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raykd.config import DataConfig, UnlabeledConfig
from raykd.errors import DataError


@dataclass(frozen=True)
class ColumnNames:
    """The columns that a source is read by, as configured.

    Attributes:
        label: None where the labels, if there are any, are not read.
        text_pair, domain: None: the columns of these names where they are there.
        group: None: not read; without `label` it may be missing.
        key: of the section that names them, for messages.
    """

    text: str = "text"
    label: str | None = "label"
    text_pair: str | None = None
    domain: str | None = None
    group: str | None = None
    key: str = "data"

    @classmethod
    def labeled(cls, data: DataConfig, train: bool = False) -> ColumnNames:
        """Of the splits with labels; of the training rows with their groups."""
        return cls(data.text, data.label, data.text_pair, data.domain, data.group_column if train else None)

    @classmethod
    def unlabeled(cls, data: DataConfig, config: UnlabeledConfig) -> ColumnNames:
        """Of the rows without labels; named as those with labels where they have no names of their own."""
        names = (config.text or data.text, None, config.text_pair or data.text_pair, config.domain or data.domain)
        return cls(*names, data.group_column, key="data.unlabeled")


@dataclass(frozen=True)
class RawSplit:
    """A split as read, nothing checked but that its columns are there.

    Attributes:
        table: columns text and, where used, label, text_pair, domain and group.
        where: the file, or the hub name and split, for messages.
        names: the configured names of those columns, by role.
        classes: class names that the data brings along (a ClassLabel's), or None.
    """

    table: pa.Table
    where: str
    names: dict[str, str]
    classes: list[str] | None = None

    def place(self, role: str, row: int | None = None) -> str:
        """Where a message points: source, column and row, counted from 1."""
        column = f"{self.where}, column {self.names[role]!r}"
        return column if row is None else f"{column}, row {row + 1}"


def choose(wanted: ColumnNames, available: Sequence[str], where: str) -> dict[str, str]:
    """Role → column name, for a source with these columns.

    Raises:
        DataError: a configured column is missing, or there twice.
    """
    names = {"text": wanted.text} | ({} if wanted.label is None else {"label": wanted.label})
    for role, name in (("text_pair", wanted.text_pair), ("domain", wanted.domain)):
        if name is not None:
            names[role] = name
        elif role in available:
            names[role] = role
    if wanted.group is not None and (wanted.label is not None or wanted.group in available):
        names["group"] = wanted.group
    for role, name in names.items():
        if name not in available:
            near = difflib.get_close_matches(name, available, 1, 0.5)
            hint = f"did you mean {wanted.key}.{role}={near[0]}" if near else f"set {wanted.key}.{role}"
            what = f"no column {name!r} for {wanted.key}.{role}"
            raise DataError(where, what, f"{hint}; its columns are {', '.join(available)}")
        if list(available).count(name) > 1:
            raise DataError(where, f"has two columns {name!r}", f"keep or rename one, or set {wanted.key}.{role}")
    return names


def pick(table: pa.Table, names: dict[str, str], configured: ColumnNames) -> pa.Table:
    """The used columns under the names of their roles; one that is not configured and all null is left out."""
    wanted = {
        "text": True,
        "label": True,
        "text_pair": configured.text_pair,
        "domain": configured.domain,
        "group": True,
    }
    used = {role: table.column(name) for role, name in names.items()}
    return pa.table({role: column for role, column in used.items() if wanted[role] or column.null_count < len(column)})


def class_names(schema: pa.Schema, column: str | None) -> list[str] | None:
    """The names of a ClassLabel column, which `datasets` keeps in the schema's metadata; None where it is not read."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None or column is None:
        return None
    feature = json.loads(described).get("info", {}).get("features", {}).get(column, {})
    return list(feature["names"]) if feature.get("_type") == "ClassLabel" and "names" in feature else None

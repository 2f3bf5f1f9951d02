"""Which columns of a source are used: the configured ones, and the optional ones where they are there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raykd.config import DataConfig
from raykd.errors import DataError


@dataclass(frozen=True)
class RawSplit:
    """A split as read, nothing checked but that its columns are there.

    Attributes:
        table: columns text, label and, where used, text_pair and domain.
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


def choose(config: DataConfig, available: Sequence[str], where: str) -> dict[str, str]:
    """Role → column name, for a source with these columns.

    Raises:
        DataError: a configured column is missing, or there twice.
    """
    names = {"text": config.text, "label": config.label}
    for role, name in (("text_pair", config.text_pair), ("domain", config.domain)):
        if name is not None:
            names[role] = name
        elif role in available:
            names[role] = role
    for role, name in names.items():
        if name not in available:
            near = difflib.get_close_matches(name, available, 1, 0.5)
            hint = f"did you mean data.{role}={near[0]}" if near else f"set data.{role}"
            what = f"no column {name!r} for data.{role}"
            raise DataError(where, what, f"{hint}; its columns are {', '.join(available)}")
        if list(available).count(name) > 1:
            raise DataError(where, f"has two columns {name!r}", f"keep or rename one, or set data.{role}")
    return names


def pick(table: pa.Table, names: dict[str, str], config: DataConfig) -> pa.Table:
    """The used columns under the names of their roles; one that is not configured and all null is left out."""
    wanted = {"text": True, "label": True, "text_pair": config.text_pair, "domain": config.domain}
    used = {role: table.column(name) for role, name in names.items()}
    return pa.table({role: column for role, column in used.items() if wanted[role] or column.null_count < len(column)})


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names of a ClassLabel column, which `datasets` keeps in the schema's metadata."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None:
        return None
    feature = json.loads(described).get("info", {}).get("features", {}).get(column, {})
    return list(feature["names"]) if feature.get("_type") == "ClassLabel" and "names" in feature else None

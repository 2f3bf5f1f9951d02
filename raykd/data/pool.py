"""The training file: labelled rows, quiz and reward of files of their own, and rows without labels, in one table.

One file, so that a row has one id, one soft target and one tokenisation, whichever signal it feeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raykd.data.rows import NO_CLASS, Rows

NO_DOMAIN = "(no domain)"
"""The domain of rows whose source names none, beside rows that have one."""


@dataclass(frozen=True)
class Pool:
    """A table that is not yet on disk, and which of its rows come from which source.

    Attributes:
        table: columns text, label and, where train has them, text_pair and domain.
        ids: source (train, quiz, reward, unlabeled) → its ids, ascending.
        groups: of each row the name of its group, null where it has none; None where no column of groups is read.
    """

    table: pa.Table
    ids: dict[str, np.ndarray]
    groups: pa.Array | None

    @property
    def rows(self) -> Rows:
        """The table as rows, in memory."""
        return in_memory(self.table)

    def without_labels(self, ids: np.ndarray | None) -> pa.Table:
        """The table with no label on these rows."""
        if ids is None:
            return self.table
        labels = self.table.column("label").to_numpy().copy()
        labels[ids] = _no_label(labels.dtype)
        place = self.table.column_names.index("label")
        return self.table.set_column(place, "label", pa.array(labels))


def in_memory(table: pa.Table) -> Rows:
    """The rows of a table that is not on disk."""
    return Rows("", "", table.combine_chunks())


def pool(tables: dict[str, pa.Table], scored: dict[str, pa.Table]) -> Pool:
    """Puts tables one under the other, `train` first, whose columns all get; without it those of `unlabeled`.

    Args:
        tables: by source; one without labels has no column label.
        scored: further splits, of which the type of the labels is taken where there is no `train`.
    """
    if "train" not in tables:
        labels = scored["validation"].column("label").slice(0, 0)
        tables = {"train": tables["unlabeled"].slice(0, 0).append_column("label", labels), **tables}
    train = tables["train"]
    aligned, ids, start = [], {}, 0
    for name, table in tables.items():
        aligned.append(_like(train, table))
        ids[name] = np.arange(start, start + table.num_rows, dtype=np.int64)
        start += table.num_rows
    table, groups = pa.concat_tables(aligned).combine_chunks(), None
    if "group" in table.column_names:
        groups, table = table.column("group").combine_chunks(), table.drop_columns("group")
    return Pool(table, ids, groups)


def _like(train: pa.Table, table: pa.Table) -> pa.Table:
    """The table with the columns of train: no label is −1 or NaN, no domain `NO_DOMAIN`, no group null."""
    no_label = _no_label(train.column("label").type.to_pandas_dtype())
    missing = {"label": no_label, "domain": NO_DOMAIN, "group": None}
    columns = {
        field.name: table.column(field.name)
        if field.name in table.column_names
        else pa.repeat(pa.scalar(missing[field.name], field.type), table.num_rows)
        for field in train.schema
    }
    return pa.table(columns, schema=train.schema)


def _no_label(dtype: np.dtype | type) -> float | int:
    return float("nan") if np.dtype(dtype).kind == "f" else NO_CLASS

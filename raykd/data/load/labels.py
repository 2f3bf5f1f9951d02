"""A label column to class ids or to the values of a regression, and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raykd.config import TaskConfig
from raykd.data.load.checks import first, is_text, plain
from raykd.data.load.columns import RawSplit
from raykd.data.load.values import of_numbers_or_names
from raykd.errors import DataError


@dataclass(frozen=True)
class Classes:
    """The classes of a task in the order of their ids; `named` is false for generic LABEL_0, LABEL_1, …."""

    names: list[str]
    named: bool


def resolve_classes(train: RawSplit, task: TaskConfig) -> Classes:
    """The classes: the configured names, else those that the data brings along, else what is in train."""
    if task.labels is not None:
        _same_order(train, task.labels)
        return Classes(task.labels, named=True)
    if train.classes is not None:
        return Classes(train.classes, named=True)
    column = _whole_or_names(train, None)
    if is_text(column.type):
        return Classes(sorted(pc.unique(column).to_pylist()), named=True)
    largest = pc.max(column).as_py()
    if largest >= max(len(column), 2):
        row = first(pc.equal(column, largest))
        what = f"label {largest} would mean more classes than the {len(column)} rows"
        raise DataError(
            train.place("label", row), what, "labels count classes from 0; for a regression set task=regression"
        )
    return Classes([f"LABEL_{k}" for k in range(max(largest + 1, 2))], named=False)


def class_ids(source: RawSplit, classes: Classes) -> pa.Array:
    """The column as int64 class ids.

    Raises:
        DataError: a label is missing, a float, no known name, or out of range.
    """
    column = _whole_or_names(source, classes.names)
    if is_text(column.type):
        ids = pc.index_in(column, value_set=pa.array(classes.names, type=pa.large_string()))
        row = first(pc.is_null(ids))
        if row >= 0:
            mend = f"known are {_listed(classes.names)}; set task.labels"
            raise DataError(source.place("label", row), f"label {column[row].as_py()!r:.40} is not known", mend)
        return ids.cast(pa.int64())
    row = first(pc.or_(pc.less(column, 0), pc.greater_equal(column, len(classes.names))))
    if row >= 0:
        what = f"label {column[row].as_py()} is out of range 0 to {len(classes.names) - 1}"
        mend = f"the classes are {_listed(classes.names)}; set task.labels"
        if column[row].as_py() == -1:
            mend = "-1 marks a row without label: use a split that has labels"
        raise DataError(source.place("label", row), what, mend)
    return column


def values(source: RawSplit) -> pa.Array:
    """The column as float64 values of a regression.

    Raises:
        DataError: a label is missing, not a number, or not finite.
    """
    column = _present(source)
    kind = column.type
    if is_text(kind):
        column = of_numbers_or_names(column.to_pylist())
        if is_text(column.type):
            row = next(
                k for k, value in enumerate(column.to_pylist()) if of_numbers_or_names([value]).type == column.type
            )
            what = f"label {column[row].as_py()!r:.40} is not a number"
            raise DataError(
                source.place("label", row), what, "a regression needs numbers; set task=classification for names"
            )
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(source.place("label", 0), f"holds {kind}, not numbers", "a regression needs numbers")
    column = column.cast(pa.float64(), safe=False)  # integers beyond 2^53 are rounded
    row = first(pc.invert(pc.is_finite(column)))
    if row >= 0:
        raise DataError(
            source.place("label", row), f"label {column[row].as_py()} is not finite", "fill it or drop the row"
        )
    return column


def _present(source: RawSplit) -> pa.Array:
    """The raw column, no row of it null."""
    column = plain(source.table.column("label"))
    row = first(pc.is_null(column))
    if row >= 0:
        raise DataError(source.place("label", row), "the label is missing", "fill it or drop the row")
    return column


def _whole_or_names(source: RawSplit, names: list[str] | None) -> pa.Array:
    """Labels of a classification as int64 or as strings; strings that are all numbers count as numbers."""
    column = _present(source)
    kind = column.type
    if is_text(kind):
        column = column.cast(pa.large_string())
        known = pa.array(names or [], type=pa.large_string())
        whole = of_numbers_or_names(pc.unique(column).to_pylist())
        if pa.types.is_integer(whole.type) and not pc.all(pc.is_in(column, value_set=known)).as_py():
            return of_numbers_or_names(column.to_pylist())
        return column
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        raise _fractional(source, column.cast(pa.float64()))
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()):
        return column.cast(pa.int64())
    if kind == pa.uint64():
        return pc.min_element_wise(column, pa.scalar(2**62, pa.uint64())).cast(pa.int64())
    raise DataError(source.place("label", 0), f"holds {kind}, no labels", "use integers from 0, or names")


def _fractional(source: RawSplit, column: pa.Array) -> DataError:
    numbers = column.to_numpy(zero_copy_only=False)
    row = int(np.argmax(~np.isfinite(numbers)))
    if not np.isfinite(numbers[row]):
        missing = np.isnan(numbers[row])
        what = "the label is missing (NaN)" if missing else f"label {numbers[row]} is not finite"
        return DataError(source.place("label", row), what, "fill it or drop the row")
    odd = np.flatnonzero(numbers != np.floor(numbers))
    if len(odd):
        what = f"label {numbers[odd[0]]} is a float, and this is a classification"
        return DataError(source.place("label", int(odd[0])), what, "set task=regression, or use integers or names")
    what = f"label {numbers[0]} is a whole number stored as a float, and this is a classification"
    return DataError(source.place("label", 0), what, "store the labels as integers, or set task=regression")


def _same_order(train: RawSplit, configured: list[str]) -> None:
    """Refuses names that are the data's own in another order: every label would silently mean another class."""
    own = [name.lower() for name in train.classes or []]
    names = [name.lower() for name in configured]
    if own and own != names and sorted(own) == sorted(names):
        what = f"its classes are {_listed(train.classes or [])}, in this order; task.labels has another"
        raise DataError(train.place("label"), what, "put task.labels in the data's order, or leave it out")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")

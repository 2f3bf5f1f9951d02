"""Checks of a split as read: rows there, every text a string that is not empty, every row with a domain and a group."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from raykd.data.load.columns import RawSplit
from raykd.errors import DataError


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds strings."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def plain(column: pa.ChunkedArray) -> pa.Array:
    """One contiguous array, categories spelt out."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def first(mask: pa.Array) -> int:
    """The first row where the mask is true, or −1."""
    return pc.index(mask, value=True).as_py()


def not_empty(source: RawSplit) -> None:
    """Refuses a split without rows."""
    if not source.table.num_rows:
        raise DataError(source.where, "has no rows", "an empty split is of no use: fill it or name another one")


def text(source: RawSplit, role: str) -> pa.Array:
    """A column of sentences as large strings.

    Raises:
        DataError: it holds something else than text, bytes that are no UTF-8, or an empty one.
    """
    column = plain(source.table.column(role))
    if pa.types.is_null(column.type):
        raise DataError(source.place(role, 0), "the text is missing", "fill it or drop the row")
    if not is_text(column.type):
        raise DataError(
            source.place(role, 0), f"holds {column.type}, not text", f"set data.{role} to a column of strings"
        )
    column = _decoded(source, role, column)
    row = first(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True))
    if row >= 0:
        what = "the text is empty" if column[row].is_valid else "the text is missing"
        raise DataError(source.place(role, row), what, "fill it or drop the row")
    return column


def names(source: RawSplit, role: str) -> pa.Array:
    """The column of domains or groups as large strings; numbers become their digits."""
    column = plain(source.table.column(role))
    if not is_text(column.type) and not pa.types.is_integer(column.type):
        raise DataError(
            source.place(role, 0), f"holds {column.type}, no names", f"set data.{role} to a column of strings"
        )
    column = _decoded(source, role, column)
    row = first(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True))
    if row >= 0:
        raise DataError(source.place(role, row), f"the {role} is missing", "give every row one, or none at all")
    return column


def _decoded(source: RawSplit, role: str, column: pa.Array) -> pa.Array:
    """As large strings whose bytes are UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raise DataError(source.place(role, _undecodable(column)), "is not UTF-8", "save the text as UTF-8") from None
    return column.cast(pa.large_string())


def _undecodable(column: pa.Array) -> int:
    """The first row whose bytes are not UTF-8."""
    for row, value in enumerate(column.cast(pa.large_binary()).to_pylist()):
        try:
            (value or b"").decode("utf-8")
        except UnicodeDecodeError:
            return row
    return 0

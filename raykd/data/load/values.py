"""Python values of text files to Arrow arrays: text, or labels whose type the file does not give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raykd.errors import DataError

INTEGER = re.compile(r"[+-]?\d{1,18}")


def of_text(values: Sequence[Any], place: str) -> pa.Array:
    """Strings and nulls.

    Raises:
        DataError: a value is something else, or no valid Unicode.
    """
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise DataError(f"{place}, row {row + 1}", f"{value!r:.40} is not text", "each value must be a string")
    try:
        return pa.array(values, type=pa.large_string())
    except UnicodeEncodeError:
        row = next(row for row, value in enumerate(values) if value is not None and not _encodable(value))
        raise DataError(f"{place}, row {row + 1}", "holds half a surrogate pair", "escape the text properly") from None


def of_typed(values: Sequence[Any], place: str) -> pa.Array:
    """Values that JSON gives a type: all numbers, all booleans or all strings, and nulls.

    Raises:
        DataError: a value's type differs from those before it, or is none of these.
    """
    kinds: dict[type, int] = {}
    for row, value in enumerate(values):
        kind = float if isinstance(value, int) and not isinstance(value, bool) else type(value)
        if kind not in (bool, float, str, type(None)):
            raise DataError(f"{place}, row {row + 1}", f"{value!r:.40} is no label", "use a number or a name")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise DataError(f"{place}, row {row + 1}", f"{value!r:.40} is too large", "labels are small numbers")
        if value is not None:
            kinds.setdefault(kind, row)
    if len(kinds) > 1:
        row = max(kinds.values())
        what = f"{values[row]!r:.40} is of another type than {values[min(kinds.values())]!r:.40} before it"
        raise DataError(f"{place}, row {row + 1}", what, "use one type in the whole column")
    if str in kinds:
        return of_text(values, place)
    if any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    return pa.array(values)


def of_numbers_or_names(values: Sequence[str | None]) -> pa.Array:
    """The fields of a column without a type: integers if all are, else numbers if all are, else strings; and nulls."""
    present = [value for value in values if value is not None]
    if all(INTEGER.fullmatch(value) for value in present):
        return pa.array([None if value is None else int(value) for value in values], type=pa.int64())
    if all(number(value) is not None for value in present):
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    return pa.array(values, type=pa.large_string())


def number(text: str) -> float | None:
    """The number that a text is; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)

"""jsonl to columns: one JSON object a line, whose values have types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from raykd.data.load.columns import ColumnNames, RawSplit, choose, pick
from raykd.data.load.values import of_text, of_typed
from raykd.errors import DataError


def read_jsonl(path: Path, wanted: ColumnNames) -> RawSplit:
    """The used columns of a jsonl file; a key that a row lacks is null.

    Raises:
        DataError: a line is no JSON object, or has a key twice; a value is of the wrong type.
        UnicodeDecodeError: a line is not UTF-8.
    """
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_object(line, f"{path}, line {number}"))
    names = choose(wanted, list(dict.fromkeys(key for row in rows for key in row)), str(path)) if rows else {}
    source = RawSplit(pa.table({}), str(path), names)
    columns: dict[str, pa.Array] = {}
    for role, name in names.items():
        values = [row.get(name) for row in rows]
        columns[role] = (of_typed if role in ("label", "domain", "group") else of_text)(values, source.place(role))
    return RawSplit(pick(pa.table(columns), {role: role for role in names}, wanted), str(path), names)


class _DoubledKey(Exception):
    """An object has a key twice, of which `json` would drop the first."""


def _object(line: str, where: str) -> dict[str, Any]:
    mend = "each line is one JSON object"
    try:
        row = json.loads(line, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise DataError(where, f"malformed JSON: {error.msg} at character {error.pos + 1}", mend) from None
    except RecursionError:
        raise DataError(where, "nests too deep", mend) from None
    except ValueError:
        raise DataError(where, "holds an integer of thousands of digits", "labels are small numbers") from None
    except _DoubledKey as error:
        raise DataError(where, f"has the key {error.args[0]!r:.40} twice", "keep one of them") from None
    if not isinstance(row, dict):
        raise DataError(where, f"is {row!r:.40}, no object", mend)
    return row


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubledKey(next(key for key in keys if keys.count(key) > 1))
    return whole

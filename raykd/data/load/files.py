"""Local files to columns: finds a split's file and reads parquet, arrow, csv, tsv or jsonl."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from raykd.config import DataConfig
from raykd.data.load.columns import RawSplit, choose, class_names, pick
from raykd.data.load.values import of_numbers_or_names, of_text, of_typed
from raykd.errors import DataError


def find(source: Path, split: str, signal: str) -> Path:
    """The file of a split: a path (from the source's folder or from here), or a name that stands in the folder.

    Raises:
        DataError: there is none, or more than one.
    """
    if source.is_file() and signal == split == "train":
        return source
    folder = source.parent if source.is_file() else source
    if Path(split).suffix.lower() in READERS:
        for path in (folder / split, Path(split).expanduser()):
            if path.is_file():
                return path
        raise DataError(str(folder / split), "no such file", "give a path from the source's folder or from here")
    found = [path for suffix in READERS if (path := folder / f"{split}{suffix}").is_file()]
    if len(found) > 1:
        raise DataError(str(folder), f"has {' and '.join(path.name for path in found)}", f"name one as data.{signal}")
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in READERS)
        what = f"no file of the split {split!r}"
        raise DataError(
            str(folder), what, f"it should be {split}.EXT with EXT one of {kinds}; or name a file as data.{signal}"
        )
    return found[0]


def read(path: Path, config: DataConfig) -> RawSplit:
    """Reads the used columns of one file.

    Raises:
        DataError: it cannot be read, a row is malformed, bytes are no UTF-8, a column is missing.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(suffix[1:] for suffix in READERS)
        raise DataError(str(path), f"cannot read {path.suffix or 'a file without a suffix'}", f"known are {kinds}")
    try:
        return reader(path, config)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        said = " ".join(str(error).split())
        raise DataError(str(path), f"cannot be read: {said}", f"is it really {path.suffix[1:]}?") from None
    except UnicodeDecodeError:
        raise _undecodable(path) from None


def _undecodable(path: Path) -> DataError:
    """Points at the first line that is not UTF-8."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                what = f"byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8"
                return DataError(f"{path}, line {number}", what, "save the file as UTF-8")
    return DataError(str(path), "is not UTF-8", "save the file as UTF-8")


def _parquet(path: Path, config: DataConfig) -> RawSplit:
    schema = pa.parquet.read_schema(path)
    names = choose(config, schema.names, str(path))
    table = pa.parquet.read_table(path, columns=list(dict.fromkeys(names.values())), partitioning=None)
    return RawSplit(pick(table, names, config), str(path), names, class_names(schema, names["label"]))


def _arrow(path: Path, config: DataConfig) -> RawSplit:
    """Both kinds of Arrow file: with a footer, and the stream that `datasets` writes."""
    with pa.memory_map(str(path)) as mapped:
        try:
            table = pa.ipc.open_file(mapped).read_all()
        except pa.ArrowInvalid:
            mapped.seek(0)
            table = pa.ipc.open_stream(mapped).read_all()
    names = choose(config, table.column_names, str(path))
    return RawSplit(pick(table, names, config), str(path), names, class_names(table.schema, names["label"]))


def _delimited(path: Path, config: DataConfig, delimiter: str) -> RawSplit:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            rows = []
            for row in reader:
                if len(row) != len(header) and row:
                    what = f"has {len(row)} fields where the header has {len(header)}"
                    raise DataError(f"{path}, line {reader.line_num}", what, "quote fields that hold the delimiter")
                if row:
                    rows.append(row)
        except csv.Error as error:
            mend = 'quote fields that hold quotes, and double those: "", or use jsonl or parquet'
            raise DataError(f"{path}, line {reader.line_num}", f"malformed: {error}", mend) from None
    names = choose(config, header, str(path)) if header else {}
    source = RawSplit(pa.table({}), str(path), names)
    columns: dict[str, pa.Array] = {}
    for role, name in names.items():
        values = [row[header.index(name)] or None for row in rows]
        columns[role] = of_numbers_or_names(values) if role == "label" else of_text(values, source.place(role))
    return RawSplit(pick(pa.table(columns), {role: role for role in names}, config), str(path), names)


def _jsonl(path: Path, config: DataConfig) -> RawSplit:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                what = f"malformed JSON: {error.msg} at character {error.pos + 1}"
                raise DataError(f"{path}, line {number}", what, "each line is one JSON object") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}", f"is {row!r:.40}, no object", "each line is one JSON object")
            rows.append(row)
    names = choose(config, list(dict.fromkeys(key for row in rows for key in row)), str(path)) if rows else {}
    source = RawSplit(pa.table({}), str(path), names)
    columns: dict[str, pa.Array] = {}
    for role, name in names.items():
        values = [row.get(name) for row in rows]
        columns[role] = (of_typed if role in ("label", "domain") else of_text)(values, source.place(role))
    return RawSplit(pick(pa.table(columns), {role: role for role in names}, config), str(path), names)


READERS: dict[str, Callable[[Path, DataConfig], RawSplit]] = {
    ".parquet": _parquet,
    ".csv": lambda path, config: _delimited(path, config, ","),
    ".tsv": lambda path, config: _delimited(path, config, "\t"),
    ".jsonl": _jsonl,
    ".arrow": _arrow,
}

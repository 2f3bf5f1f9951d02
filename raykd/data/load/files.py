"""Local files to columns: finds a split's file and reads parquet, arrow, csv, tsv or jsonl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from raykd.data.load.columns import ColumnNames, RawSplit, choose, class_names, pick
from raykd.data.load.delimited import read_delimited
from raykd.data.load.jsonl import read_jsonl
from raykd.errors import DataError, one_line


def find(source: Path, split: str, signal: str) -> Path:
    """The file of a split: a path (from the source's folder or from here), or a name within the folder.

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
    files = [path for suffix in READERS if (path := folder / f"{split}{suffix}").is_file()]
    if len(files) > 1:
        raise DataError(str(folder), f"has {' and '.join(path.name for path in files)}", f"name one as data.{signal}")
    if not files:
        kinds = ", ".join(suffix[1:] for suffix in READERS)
        what = f"no file of the split {split!r}"
        raise DataError(
            str(folder), what, f"it should be {split}.EXT with EXT one of {kinds}; or name a file as data.{signal}"
        )
    return files[0]


def read(path: Path, wanted: ColumnNames) -> RawSplit:
    """Reads the used columns of one file.

    Raises:
        DataError: it cannot be read, a row is malformed, bytes are no UTF-8, a column is missing.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(suffix[1:] for suffix in READERS)
        raise DataError(str(path), f"cannot read {path.suffix or 'a file without a suffix'}", f"known are {kinds}")
    try:
        return reader(path, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = one_line(error)
        raise DataError(str(path), f"cannot be read: {reason:.300}", f"is it really {path.suffix[1:]}?") from None
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


def _parquet(path: Path, wanted: ColumnNames) -> RawSplit:
    schema = pa.parquet.read_schema(path)
    names = choose(wanted, schema.names, str(path))
    table = pa.parquet.read_table(path, columns=list(dict.fromkeys(names.values())), partitioning=None)
    return RawSplit(pick(table, names, wanted), str(path), names, class_names(schema, names.get("label")))


def _arrow(path: Path, wanted: ColumnNames) -> RawSplit:
    """Both kinds of Arrow file: with a footer, and the stream that `datasets` writes."""
    with pa.memory_map(str(path)) as mapped:
        try:
            table = pa.ipc.open_file(mapped).read_all()
        except pa.ArrowInvalid:
            mapped.seek(0)
            table = pa.ipc.open_stream(mapped).read_all()
    names = choose(wanted, table.column_names, str(path))
    return RawSplit(pick(table, names, wanted), str(path), names, class_names(table.schema, names.get("label")))


READERS: dict[str, Callable[[Path, ColumnNames], RawSplit]] = {
    ".parquet": _parquet,
    ".csv": lambda path, wanted: read_delimited(path, wanted, ","),
    ".tsv": lambda path, wanted: read_delimited(path, wanted, "\t"),
    ".jsonl": read_jsonl,
    ".arrow": _arrow,
}

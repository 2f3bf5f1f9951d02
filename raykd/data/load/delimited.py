"""csv and tsv to columns, read by Arrow.

Arrow names no line where it stops, and accepts a quote that is never closed or is followed by letters. So
the csv module looks a second time at a file that has quotes, and at one that Arrow refuses.
"""

from __future__ import annotations

import csv
import mmap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from raykd.data.load.columns import ColumnNames, RawSplit, choose, pick
from raykd.data.load.values import of_numbers_or_names
from raykd.errors import DataError

BLOCK = 1 << 24
"""Bytes that Arrow reads at a time; a row may not be longer."""


def read_delimited(path: Path, wanted: ColumnNames, delimiter: str) -> RawSplit:
    """The used columns of a csv or tsv file with a header: texts as they are, an empty field null.

    Labels are numbers where all are and some are not whole, else strings.

    Raises:
        DataError: a row has more or fewer fields than the header, a quote is misplaced, a row is too long.
        UnicodeDecodeError: the header or a used column is not UTF-8.
        ArrowInvalid: Arrow refuses what the csv module accepts.
    """
    header = _header(path, delimiter)
    if not header:
        return RawSplit(pa.table({}), str(path), {})
    names = choose(wanted, header, str(path))
    if _has_quotes(path):
        _check_rows(path, delimiter, len(header), "replace")
    columns = list(dict.fromkeys(names.values()))
    try:
        with path.open("rb") as file:
            table = pa.csv.read_csv(
                file,
                read_options=pa.csv.ReadOptions(block_size=BLOCK),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.large_string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):  # a header alone, without an end of line
            table = pa.table({name: pa.array([], pa.large_string()) for name in columns})
        else:
            _check_rows(path, delimiter, len(header), "strict")
            if "straddling" in str(error):
                what = f"has a row of more than {BLOCK >> 20} MiB"
                raise DataError(str(path), what, "shorten it, or use jsonl or parquet") from None
            raise
    used = {role: table.column(name) for role, name in names.items()}
    # Whole numbers stay text: whether they count classes from 0 or name them is not known here.
    if "label" in used and pa.types.is_floating(of_numbers_or_names(pc.unique(used["label"]).to_pylist()).type):
        used["label"] = of_numbers_or_names(used["label"].to_pylist())
    return RawSplit(pick(pa.table(used), {role: role for role in names}, wanted), str(path), names)


def _header(path: Path, delimiter: str) -> list[str]:
    """The fields of the first line that is not empty."""
    return next((row for _, row in _rows(path, delimiter)), [])


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b'"') >= 0


def _check_rows(path: Path, delimiter: str, fields: int, errors: str) -> None:
    """Refuses a malformed row with its line; `errors`: as `open` takes it, of bytes that are not UTF-8."""
    for line, row in _rows(path, delimiter, errors):
        if len(row) != fields:
            what = f"has {len(row)} fields where the header has {fields}"
            raise DataError(f"{path}, line {line}", what, "quote fields that hold the delimiter")


def _rows(path: Path, delimiter: str, errors: str = "strict") -> Iterator[tuple[int, list[str]]]:
    """The number of its last line and the fields of every row, empty lines left out."""
    csv.field_size_limit(BLOCK)  # the module's own is 128 KiB
    with path.open(encoding="utf-8-sig", newline="", errors=errors) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            mend = 'quote fields that hold quotes, and double those: "", or use jsonl or parquet'
            raise DataError(f"{path}, line {reader.line_num}", f"malformed: {error}", mend) from None

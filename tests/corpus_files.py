"""Small corpora on disk in any of the formats."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from raykd.data.corpus import Corpus

Columns = dict[str, list[Any]]
Write = Callable[[str, Any], Path]
Load = Callable[..., Corpus]


def write_file(path: Path, content: Any) -> Path:
    """Columns in the format of the suffix; bytes as they are."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    table = content if isinstance(content, pa.Table) else pa.table(content)
    match path.suffix:
        case ".parquet":
            pa.parquet.write_table(table, path)
        case ".arrow":
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
        case ".csv" | ".tsv":
            with path.open("w", newline="", encoding="utf-8") as lines:
                writer = csv.writer(lines, delimiter="," if path.suffix == ".csv" else "\t")
                writer.writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
    return path


def reviews(rows: int = 8, tag: str = "review") -> Columns:
    """Rows with alternating labels 0 and 1."""
    return {"text": [f"{tag} {k}" for k in range(rows)], "label": [k % 2 for k in range(rows)]}

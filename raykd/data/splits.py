"""A split in the cache: an Arrow file under the hash of its content, written once and atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from filelock import FileLock

from raykd.data.rows import FINGERPRINT, Rows
from raykd.errors import DataError, one_line
from raykd.files import replacing

FORMAT = b"raykd corpus 1"
"""Hashed along, so that files of another layout are never taken for this one."""


@dataclass(frozen=True)
class Split:
    """A split as loaded, in the cache.

    Attributes:
        name: train, validation or test.
        path: its Arrow file.
        fingerprint: sha256 of its content.
        texts: sha256 of its sentences alone; with it, remembered soft targets are found again, whatever the labels are.
        rows: how many.
    """

    name: str
    path: str
    fingerprint: str
    texts: str
    rows: int

    def open(self) -> Rows:
        """Its rows; errors as for `Rows.open`."""
        return Rows.open(self.path, self.fingerprint)


@dataclass(frozen=True)
class TextSplit(Split):
    """Texts that travel with every request instead of lying in the cache: of a training loop that is not ours.

    Attributes:
        sentences: the columns text and, where there are any, text_pair.
    """

    sentences: pa.Table = field(repr=False)

    @classmethod
    def of(cls, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TextSplit:
        """A split of these texts, row by row.

        Raises:
            DataError: there are none, one is no text, or there is another number of pairs.
        """
        table = sentence_table(texts, pairs)
        digest = content_digest(table)
        return cls("texts", "", digest, digest, len(texts), table)

    def open(self) -> Rows:
        """Its rows, which are in memory."""
        return Rows("", self.fingerprint, self.sentences)


def sentence_table(texts: Sequence[str], pairs: Sequence[str] | None = None) -> pa.Table:
    """The columns text and, where pairs are given, text_pair; each of one chunk.

    Raises:
        DataError: there are none, one is no text, or there is another number of pairs.
    """
    if not len(texts):
        raise DataError("texts", "there are none", "give at least one")
    if pairs is not None and len(pairs) != len(texts):
        raise DataError("pairs", f"are {len(pairs)} for {len(texts)} texts", "give one for each text")
    columns = {"text": texts, **({} if pairs is None else {"text_pair": pairs})}
    for name, values in columns.items():
        wrong = next((k for k, value in enumerate(values) if not isinstance(value, str)), None)
        if wrong is not None:
            raise DataError(f"{name} {wrong}", f"is no text but {type(values[wrong]).__name__}", "give strings")
    return pa.table({name: pa.array(list(values), pa.large_string()) for name, values in columns.items()})


def write_split(name: str, table: pa.Table, cache: Path) -> Split:
    """Writes a checked split to `cache`/corpora/FINGERPRINT/NAME.arrow, unless it is there whole.

    Raises:
        DataError: the cache cannot be written.
    """
    fingerprint = content_digest(table)
    path = cache / "corpora" / fingerprint / f"{name}.arrow"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not _whole(path, fingerprint):
                _write(path, table.combine_chunks().replace_schema_metadata({FINGERPRINT: fingerprint.encode()}))
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or one_line(error)
        mend = "set `cache` to a folder on a disk with room that you can write"
        raise DataError(f"cache {cache}", f"cannot be written: {reason:.200}", mend) from None
    sentences = table.select([column for column in ("text", "text_pair") if column in table.column_names])
    return Split(name, str(path), fingerprint, content_digest(sentences), table.num_rows)


def _write(path: Path, table: pa.Table) -> None:
    with replacing(path) as draft, pa.ipc.new_file(str(draft), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(table.num_rows, 1))


def _whole(path: Path, fingerprint: str) -> bool:
    if not path.is_file():
        return False
    try:
        Rows.open(path, fingerprint)
    except DataError:
        return False
    return True


def content_digest(table: pa.Table) -> str:
    """sha256 over names, types and values: the same however the source was chunked or stored."""
    digest = hashlib.sha256(FORMAT)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}:{column.type}:{len(column)}".encode())
        for part in _bytes(pa.concat_arrays(column.chunks)):
            digest.update(part)
    return digest.hexdigest()


def _bytes(column: pa.Array) -> Iterator[bytes | memoryview]:
    """The values of a column without nulls; of strings their lengths, then their letters."""
    if not pa.types.is_large_string(column.type):
        yield np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).data.cast("B")
        return
    _, ends, letters = column.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    yield np.diff(offsets).data.cast("B")
    yield memoryview(letters)[offsets[0] : offsets[-1]]

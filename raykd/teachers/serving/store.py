"""Soft targets on disk, under an address made of everything that decides them (docs/design.md, "The store").

A folder holds segment files while the pass is under way, and one sealed table once it is whole. A segment's name and
the manifest carry the sha256 of their file: what does not match is set aside and computed again, never read as data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from raykd.files import draft_in, sha256, write_json
from raykd.teachers.serving.values import Ragged, Values, concatenate

log = logging.getLogger(__name__)
FORMAT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Address:
    """Everything that decides a teacher's logits for a corpus; any change is another store."""

    weights: str
    tokenizer: str
    corpus: str
    max_length: int
    truncation: str
    dtype: str
    columns: tuple[int, ...]
    labels: tuple[str, ...]
    version: int
    output: str = "logits"
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """The content address, 32 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Table:
    """Rows in the order of their ids, memory-mapped where they come from the sealed file.

    Attributes:
        ids: [N] int64, ascending.
        values: [N, C] logits, or what else the teacher answers.
    """

    ids: np.ndarray
    values: Values

    def covers(self, ids: np.ndarray) -> np.ndarray:
        """Which of the ids are there, [len(ids)] bool."""
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.ids[places] == ids

    def take(self, ids: np.ndarray) -> Values:
        """The values of ids that are all there."""
        return self.values[np.searchsorted(self.ids, ids)]


class Store:
    """One teacher's soft targets for one corpus.

    Args:
        classes: columns of a row; None where rows are of different lengths.
    """

    def __init__(self, cache: Path, address: Address, classes: int | None, dtype: str) -> None:
        self.address, self.classes, self.dtype = address, classes, np.dtype(dtype)
        self.folder = cache / "targets" / address.digest
        self.segments = self.folder / "segments"
        self._lock = FileLock(str(self.folder / "lock"))  # one object: whoever has it may take it again

    def sealed(self) -> Table | None:
        """The sealed table, memory-mapped and checked against the manifest; None where there is none that is whole."""
        path = self._sealed_file()
        return None if path is None else self._read(path)

    def load(self) -> Table:
        """Every row that is there, sealed or in segments; of two answers for a row the first that was recorded.

        Files are read one after the other, their ids first: no more than one copy of all values is in memory.
        """
        if not self.folder.is_dir():
            return Table(np.empty(0, np.int64), self._none())
        with self._lock:  # while another writer seals, it removes segments
            return self._merged()

    def parts(self) -> Iterator[Table]:
        """The files one after the other, as they were recorded: of two answers for a row the first counts."""
        if self.folder.is_dir():
            with self._lock:
                yield from map(self._read, self._whole_files())

    def _merged(self) -> Table:
        paths = self._whole_files()
        if not paths:
            return Table(np.empty(0, np.int64), self._none())
        # A copy: the ids of a file that is not mapped would keep its values in memory.
        ids, first = np.unique(np.concatenate([self._read(path).ids.copy() for path in paths]), return_index=True)
        if self.classes is None:
            return Table(ids, concatenate([self._read(path).values for path in paths])[first])
        values = np.empty((len(ids), self.classes), self.dtype)
        for path in reversed(paths):  # the first answer for a row is the last that is put there
            part = self._read(path)
            values[np.searchsorted(ids, part.ids)] = part.values
        return Table(ids, values)

    def append(self, ids: np.ndarray, values: Values) -> None:
        """Writes finished rows as one more segment."""
        self.segments.mkdir(parents=True, exist_ok=True)
        with draft_in(self.segments) as draft:
            self._write(draft, ids, values)
            draft.rename(self.segments / f"{uuid.uuid4().hex[:12]}-{sha256(draft)[:32]}.arrow")

    def seal(self) -> np.ndarray:
        """Makes one table of all rows that are on disk, drops the segments and returns the table's ids.

        Another writer's rows are among them: the first answer recorded for a row is everybody's.
        """
        with self._lock:
            kept, table = list(self.segments.glob("*.arrow")), self.load()
            with draft_in(self.folder) as draft:
                self._write(draft, table.ids, table.values)
                digest = sha256(draft)
                path = self.folder / f"sealed-{digest[:16]}.arrow"
                draft.rename(path)
            manifest = {"file": path.name, "sha256": digest, "rows": len(table.ids), "address": asdict(self.address)}
            write_json(self.folder / MANIFEST, manifest)
            for old in self.folder.glob("sealed-*.arrow"):
                if old != path:
                    old.unlink(missing_ok=True)  # readers that have it mapped keep it
            for segment in kept:
                segment.unlink(missing_ok=True)
        return table.ids

    def _sealed_file(self) -> Path | None:
        """The file that the manifest names, if it is what was written."""
        manifest = self._manifest()
        if manifest is None:
            return None
        path = self.folder / str(manifest["file"])
        if sha256(path) == manifest["sha256"]:
            return path
        log.warning("soft targets %s are damaged, they will be computed again", path.name)
        return None

    def _whole_files(self) -> list[Path]:
        """The sealed table and the segments, as they were written; segments that are damaged are removed."""
        whole = [path for path in [self._sealed_file()] if path is not None]
        for path in sorted(self.segments.glob("*.arrow"), key=lambda file: file.stat().st_mtime_ns):
            if sha256(path)[:32] == path.stem.rpartition("-")[2]:
                whole.append(path)
            else:
                log.warning("segment %s is damaged, its rows will be computed again", path.name)
                path.unlink(missing_ok=True)
        return whole

    def _none(self) -> Values:
        if self.classes is None:
            return Ragged.of([], self.dtype)
        return np.empty((0, self.classes), self.dtype)

    def _column(self, values: Values) -> pa.Array:
        if isinstance(values, Ragged):
            ends = np.concatenate([[0], np.cumsum(values.sizes)])
            return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(values.flat))
        flat = pa.array(np.ascontiguousarray(values, self.dtype).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, self.classes)

    def _write(self, path: Path, ids: np.ndarray, values: Values) -> None:
        table = pa.table({"id": ids.astype(np.int64, copy=False), "logits": self._column(values)})
        with path.open("wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                # One chunk, so that the reader sees one contiguous array without a copy.
                writer.write_table(table, max_chunksize=max(1, len(ids)))
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> Table:
        # The sealed table is mapped; of segments there are too many to keep them all open.
        source = pa.OSFile(str(path)) if path.parent == self.segments else pa.memory_map(str(path))
        batch = pa.ipc.open_file(source).read_all().combine_chunks()
        ids = batch["id"].to_numpy()
        if not batch.num_rows:
            return Table(ids, self._none())
        column = batch["logits"].chunk(0)
        flat = column.flatten().to_numpy(zero_copy_only=True)
        if self.classes is None:
            return Table(ids, Ragged(flat, np.diff(column.offsets.to_numpy())))
        return Table(ids, flat.reshape(-1, self.classes))

    def _manifest(self) -> dict[str, object] | None:
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            whole = {"file", "sha256"} <= set(manifest) and (self.folder / manifest["file"]).exists()
            return manifest if whole else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            log.warning("the manifest in %s is damaged, its rows will be computed again", self.folder.name)
            return None

"""A split's rows, memory-mapped from the cache: every process that needs texts opens the same file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from raykd.errors import DataError, one_line

FINGERPRINT = b"raykd.fingerprint"
"""Key in the file's schema metadata."""
NO_CLASS = -1
"""The class of a row without a label; in a regression its value is NaN."""


def has_label(labels: np.ndarray) -> np.ndarray:
    """Which labels are some, bool: class ids are not −1, values of a regression not NaN."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != NO_CLASS


class Rows:
    """The rows of one split; an example id is a row's number here.

    Attributes:
        path: the Arrow file.
        fingerprint: sha256 of its content.
    """

    def __init__(self, path: str, fingerprint: str, table: pa.Table) -> None:
        self.path, self.fingerprint = path, fingerprint
        # One chunk per column (as written), so that taking rows never concatenates.
        self._columns = {name: table.column(name).chunk(0) for name in table.column_names}
        self._rows = table.num_rows

    @classmethod
    def open(cls, path: str | Path, fingerprint: str) -> Rows:
        """Maps a split's file.

        Raises:
            DataError: the file is not there, is damaged, or is another corpus's.
        """
        path = str(path)
        try:
            table = pa.ipc.open_file(pa.memory_map(path)).read_all()
        except FileNotFoundError:
            mend = "the cache must be on storage shared by all nodes: set `cache` to such a folder"
            raise DataError(path, "this corpus is not in the cache that this node sees", mend) from None
        except (pa.ArrowInvalid, OSError) as error:
            what = f"is damaged: {one_line(error)}"
            raise DataError(path, what, "delete it and start again, it is then written again") from None
        written = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
        if written != fingerprint:
            what = f"holds corpus {written[:12] or 'unknown'}, not {fingerprint[:12]}"
            raise DataError(path, what, "delete it and start again, it is then written again")
        return cls(path, fingerprint, table)

    def __len__(self) -> int:
        return self._rows

    def texts(self, ids: np.ndarray) -> list[str]:
        """The (first) sentences of these rows."""
        return self._take("text", ids).to_pylist()

    def pairs(self, ids: np.ndarray) -> list[str] | None:
        """The second sentences, or None where the corpus has none."""
        return self._take("text_pair", ids).to_pylist() if "text_pair" in self._columns else None

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Class ids int64, or float64 values of a regression; −1, or NaN, of rows without a label."""
        return self._columns["label"].to_numpy(zero_copy_only=False)[ids]

    def labeled(self, ids: np.ndarray) -> np.ndarray:
        """Which of these rows have a label, bool [ids]."""
        return has_label(self.labels(ids))

    def sentences(self, ids: np.ndarray) -> pa.Array:
        """Text and pair of these rows as one string each, to compare rows by."""
        texts = self._take("text", ids)
        if "text_pair" not in self._columns:
            return texts
        return pc.binary_join_element_wise(texts, self._take("text_pair", ids), pa.scalar("\x1f", pa.large_string()))

    def domains(self, ids: np.ndarray) -> list[str] | None:
        """The rows' domains, or None where the corpus has none."""
        return self._take("domain", ids).to_pylist() if "domain" in self._columns else None

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of text and pair, int32 [rows]: a length that no tokenizer is needed for."""
        parts = [self._columns[name] for name in ("text", "text_pair") if name in self._columns]
        return np.sum([pc.utf8_length(part).to_numpy() for part in parts], axis=0).astype(np.int32)

    def _take(self, name: str, ids: np.ndarray) -> pa.Array:
        return self._columns[name].take(pa.array(ids, type=pa.int64()))

"""What a teacher answers for rows: an array [N, C], or rows of different lengths, and tables of both by row number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, as token-level features are.

    Attributes:
        flat: the rows one after the other, one axis.
        sizes: [N] int64, numbers of each row.
    """

    flat: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], dtype: np.dtype | str) -> Ragged:
        """From a one-axis array for each row."""
        flat = np.concatenate([np.empty(0, dtype), *rows]).astype(dtype, copy=False)
        return cls(flat, np.array([len(row) for row in rows], np.int64))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, which: np.ndarray) -> Ragged:
        """These rows, by numbers or by a mask."""
        places = np.flatnonzero(which) if which.dtype == bool else which
        ends, sizes = self._ends, self.sizes
        return Ragged.of([self.flat[ends[i] - sizes[i] : ends[i]] for i in places.tolist()], self.flat.dtype)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where each row ends; of a whole table it is asked for at every batch."""
        return np.cumsum(self.sizes)

    def rows(self) -> list[np.ndarray]:
        """A view of each row."""
        return np.split(self.flat, self._ends[:-1]) if len(self) else []

    @property
    def nbytes(self) -> int:
        """Bytes of all rows together."""
        return self.flat.nbytes + self.sizes.nbytes


Values = np.ndarray | Ragged


class RaggedRows:
    """A table of `Ragged` rows by number, most of which may be absent: read and written as an array [N, C] is."""

    def __init__(self, dtype: np.dtype | str) -> None:
        self.dtype = np.dtype(dtype)
        self._rows: dict[int, np.ndarray] = {}

    def __getitem__(self, ids: np.ndarray) -> Ragged:
        return Ragged.of([self._rows[i] for i in ids.tolist()], self.dtype)

    def __setitem__(self, ids: np.ndarray, values: Ragged) -> None:
        # Copies: a view would keep the whole answer that a row came in.
        self._rows.update((i, row.copy()) for i, row in zip(ids.tolist(), values.rows(), strict=True))

    def nbytes(self, ids: np.ndarray) -> int:
        """Bytes of these rows together."""
        return sum(self._rows[i].nbytes for i in ids.tolist())

    def drop(self, ids: Iterable[int]) -> None:
        """Forgets these rows, as far as they are there."""
        for i in ids:
            self._rows.pop(i, None)


def concatenate(parts: Sequence[Values]) -> Values:
    """Rows one under the other; all parts are of one kind."""
    if isinstance(parts[0], Ragged):
        ragged = [part for part in parts if isinstance(part, Ragged)]
        flat = np.concatenate([part.flat for part in ragged])
        return Ragged(flat, np.concatenate([part.sizes for part in ragged]))
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])


def finite_rows(values: Values) -> np.ndarray:
    """Which rows hold finite numbers alone, [N] bool."""
    if isinstance(values, Ragged):
        return np.array([bool(np.isfinite(row).all()) for row in values.rows()], bool)
    return np.asarray(np.isfinite(values).all(axis=1))

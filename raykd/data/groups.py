"""Groups: rows that stay on one side of every holdout, by a column or by texts that stand inside others.

By texts, a row's group is that of the one text that it stands in and that no other text contains. Connected components
of "stands inside" would chain through short texts such as `good` into one group of nearly all rows. A text inside
several largest ones is in the group of none of them: it is bound to train and never held out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raykd.data.containment import SEVERAL, Containment
from raykd.errors import DataError


@dataclass(frozen=True)
class Groups:
    """The groups of a training file's rows.

    Attributes:
        key: the column, or `contained`.
        number: of each row's group, int64 [rows]; a row that is in none with others has a number of its own.
        bound: rows that no part may take, since the texts that they stand in are in several groups, bool [rows].
        total: groups of the rows with labels, those bound left out.
    """

    key: str
    number: np.ndarray
    bound: np.ndarray
    total: int

    def beside(self, ids: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Those of the ids that are of the group of a row that is held out."""
        return ids[np.isin(self.number[ids], self.number[held_out])]

    def choose(self, ids: np.ndarray, labels: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
        """A mask of about `count` of the ids, in whole groups; seed and purpose decide which.

        The groups whose commonest label is the same are gone through in a random order; one is taken where the number
        of rows comes nearer to that label's part of `count`. What a label is off by, the next one makes good.

        Args:
            labels: class ids (a regression's quintiles) of these ids.
        """
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, zlib.crc32(purpose.encode())], np.uint64)))
        mask, free = np.zeros(len(ids), dtype=bool), np.flatnonzero(~self.bound[ids])
        if not len(free):
            return mask
        present, group, sizes = np.unique(self.number[ids[free]], return_inverse=True, return_counts=True)
        commonest = _commonest(group, labels[free], len(present))
        taken, room = np.zeros(len(present), dtype=bool), 0.0
        for label in np.unique(commonest):
            alike = rng.permutation(np.flatnonzero(commonest == label))
            room += count * sizes[alike].sum() / len(free)
            for k in alike:
                if sizes[k] <= 2 * room:
                    taken[k] = True
                    room -= sizes[k]
        mask[free] = taken[group]
        return mask

    def folds(self, ids: np.ndarray, n: int, seed: int) -> np.ndarray:
        """The fold of each id, 0 to n − 1: groups in a random order, each to the fold that has the fewest rows. A row
        that no part may take is a group of its own here.

        Raises:
            DataError: there are fewer groups than folds.
        """
        present, group, sizes = np.unique(self.number[ids], return_inverse=True, return_counts=True)
        if len(present) < n:
            what = f"{n} folds of {len(present)} groups of the training rows"
            raise DataError(f"data.group={self.key}", what, "lower weighting.cross_fit")
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, n], np.uint64)))
        fold, rows = np.zeros(len(present), np.int64), np.zeros(n, np.int64)
        for k in rng.permutation(len(present)):
            fold[k] = rows.argmin()
            rows[fold[k]] += sizes[k]
        return fold[group]


def by_column(key: str, column: pa.Array, labeled: np.ndarray) -> Groups:
    """Rows of one value are a group; a row without a value is one of its own.

    Args:
        labeled: ids of the rows with labels.
    """
    names = pc.unique(column.drop_null())
    number = pc.fill_null(pc.index_in(column, value_set=names), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    number = np.where(number < 0, len(names) + np.arange(len(column)), number)
    return Groups(key, number, np.zeros(len(column), dtype=bool), len(np.unique(number[labeled])))


def by_containment(found: Containment, used: np.ndarray, rows: int, labeled: np.ndarray) -> Groups:
    """Rows that stand inside one largest text are its group; see above.

    Args:
        used: the rows whose texts count, bool over all that were looked at.
        rows: of the training file, which are the first.
        labeled: ids of the rows with labels.
    """
    number = found.only_container(used)[:rows]
    bound = number == SEVERAL
    number = np.where(number < 0, len(used) + np.arange(rows), number)
    return Groups("contained", number, bound, len(np.unique(number[labeled[~bound[labeled]]])))


def _commonest(group: np.ndarray, labels: np.ndarray, groups: int) -> np.ndarray:
    """The label that most rows of each group have, the largest of several, [groups]."""
    pairs, counts = np.unique(np.stack([group, labels]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], counts))
    label = np.zeros(groups, dtype=np.int64)
    label[pairs[0, order]] = pairs[1, order]  # the last one written has the highest count
    return label

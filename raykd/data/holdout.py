"""Which rows feed which signal: domains, the budget of labels, parts held out of it; stratified, fixed by data.seed."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterator

import numpy as np

from raykd.config import DataConfig
from raykd.data.groups import Groups
from raykd.data.rows import Rows
from raykd.errors import DataError

QUANTILES = 5
"""Strata of a regression: quintiles of the label."""


def in_domains(
    rows: Rows, ids: np.ndarray, wanted: list[str] | None, where: str, key: str = "data.domains"
) -> np.ndarray:
    """Those of the ids whose rows are of these domains, or all.

    Raises:
        DataError: there is no domain column, a domain is unknown, or nothing is left.
    """
    if wanted is None:
        return ids
    domains = _domains(rows, ids, where, key)
    known = sorted(set(domains.tolist()))
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise DataError(where, f"no row of the domain {name!r}", f"{hint}its domains are {', '.join(known)}")
    return ids[np.isin(domains, wanted)]


def out_of_domains(rows: Rows, ids: np.ndarray, unwanted: list[str], where: str, key: str) -> np.ndarray:
    """Those of the ids whose rows are of none of these domains.

    Raises:
        DataError: there is no domain column, or nothing is left.
    """
    left = ids[~np.isin(_domains(rows, ids, where, key), unwanted)]
    if not len(left):
        what = f"{key}: no row is left without the domain {', '.join(unwanted)}"
        raise DataError(where, what, "leave fewer domains out, or give rows of others")
    return left


def _domains(rows: Rows, ids: np.ndarray, where: str, key: str) -> np.ndarray:
    """The domain of each id, strings [ids]."""
    domains = rows.domains(ids)
    if domains is None:
        raise DataError(where, f"{key} is set, but there is no domain column", "name it as data.domain")
    return np.array(domains, dtype=str)


def draw_budget(rows: Rows, ids: np.ndarray, config: DataConfig, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose labels may be read (the budget), and the rest; stratified.

    Raises:
        DataError: fewer than two would be left.
    """
    keep = min(round(config.fraction * len(ids)), config.max_train_rows or len(ids))
    if keep < 2:
        raise DataError(where, f"data.fraction={config.fraction} leaves {keep} of {len(ids)} rows", "raise it")
    kept = stratified(rows, ids, keep, config.seed, "train")
    return kept, np.setdiff1d(ids, kept)


def stratified(rows: Rows, ids: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """So many of the ids, spread over labels and domains as they are; seed and purpose decide which."""
    return ids[_choose(_strata(rows, ids), count, seed, purpose)]


def holdout(
    rows: Rows, ids: np.ndarray, config: DataConfig, where: str, groups: Groups | None = None
) -> dict[str, np.ndarray]:
    """Signal → ids: validation, test, quiz and reward where a share is asked for, disjoint; and what train keeps.

    The validation is taken first and the quiz after the test, so that runs with and without the others share them.

    Args:
        groups: parts are of whole groups then, as near to their shares as these allow.

    Raises:
        DataError: a part would be empty.
    """
    strata = _strata(rows, ids)
    total, parts = len(ids), {}
    for key, wanted in config.shares.items():
        count, signal = round(wanted * total), key.removesuffix("_from_train")
        if not 0 < count < len(ids):
            what = f"data.{key}={wanted} of {total} rows makes {count}, and train has {len(ids)} left"
            raise DataError(where, what, "change the share, or give more rows")
        if groups is None:
            taken = _choose(strata, count, config.seed, signal)
        else:
            taken = groups.choose(ids, strata[:, 0], count, config.seed, signal)
            if not taken.any() or taken.all():
                what = f"data.{key}={wanted} of {total} rows makes {count}, and no whole groups make about so many"
                raise DataError(where, what, f"change the share, or data.group={groups.key}")
        parts[signal] = ids[taken]
        ids, strata = ids[~taken], strata[~taken]
    return parts | {"train": ids}


def _strata(rows: Rows, ids: np.ndarray) -> np.ndarray:
    """Label (a regression's quintile) and domain number of each id, int64 [ids, 2]."""
    labels = rows.labels(ids)
    if labels.dtype == np.float64:
        edges = np.quantile(labels, np.linspace(0, 1, QUANTILES + 1)[1:-1])
        labels = np.searchsorted(edges, labels, side="right")
    domains = rows.domains(ids)
    kinds = np.unique(np.array(domains), return_inverse=True)[1] if domains else np.zeros(len(ids), dtype=np.int64)
    return np.stack([labels, kinds], axis=1).astype(np.int64)


def _choose(strata: np.ndarray, count: int, seed: int, signal: str) -> np.ndarray:
    """A mask of `count` rows, spread over the labels by largest remainder, and within a label over the domains."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, zlib.crc32(signal.encode())], dtype=np.uint64)))
    mask = np.zeros(len(strata), dtype=bool)
    for of_label, part in _apportioned(strata[:, 0], np.arange(len(strata)), count):
        for of_domain, quota in _apportioned(strata[:, 1], of_label, part):
            mask[rng.permutation(of_domain)[:quota]] = True
    return mask


def _apportioned(kinds: np.ndarray, places: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """The places of each kind and how many of them make up `count`, by largest remainder."""
    present, numbers, sizes = np.unique(kinds[places], return_inverse=True, return_counts=True)
    exact = sizes * (count / len(places))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    for k in range(len(present)):
        yield places[numbers == k], int(quota[k])

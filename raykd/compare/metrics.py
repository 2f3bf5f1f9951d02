"""Metrics of many resamples at once: each from counts of rows, as `Task.scores` from the rows themselves."""

from __future__ import annotations

import numpy as np

CLASSES = ("accuracy", "f1", "matthews")


def resampled_values(
    metric: str, classes: int, labels_P: np.ndarray, predicted_P: np.ndarray, counts_RP: np.ndarray
) -> np.ndarray:
    """A metric's value in each resample, [R].

    Args:
        metric: of a classification or regression, by the name that results have.
        classes: of the task; 1 for a regression.
        labels_P, predicted_P: of rows, or of groups of equal rows: classes or values.
        counts_RP: how often each of them is in each resample.
    """
    counts = counts_RP.astype(np.float64)
    match metric:
        case "accuracy":
            return counts @ (labels_P == predicted_P) / counts.sum(1)
        case "f1" | "matthews":
            return _of_classes(metric, classes, labels_P.astype(np.int64), predicted_P.astype(np.int64), counts)
        case "pearson":
            return _correlation(_scaled(labels_P), _scaled(predicted_P), counts)
        case "spearman":
            return _correlation(_ranks(labels_P, counts), _ranks(predicted_P, counts), counts)
        case _:
            raise ValueError(f"no metric {metric}")


def _of_classes(
    metric: str, classes: int, labels_P: np.ndarray, predicted_P: np.ndarray, counts_RP: np.ndarray
) -> np.ndarray:
    """F1 and Matthews correlation, from true, answered and right rows of each class."""
    true_RC, answered_RC = (counts_RP @ np.eye(classes)[of_class] for of_class in (labels_P, predicted_P))
    right_RC = counts_RP @ (np.eye(classes)[labels_P] * (labels_P == predicted_P)[:, None])
    if metric == "f1":
        both_RC = true_RC + answered_RC
        f1_RC = np.divide(2 * right_RC, both_RC, out=np.zeros_like(both_RC), where=both_RC > 0)
        if classes == 2:
            return f1_RC[:, 1]
        return f1_RC.sum(1) / (both_RC > 0).sum(1)  # the mean over classes that occur
    rows_R = counts_RP.sum(1)
    covariance_R = right_RC.sum(1) * rows_R - (true_RC * answered_RC).sum(1)
    variances_R = (rows_R**2 - (true_RC**2).sum(1)) * (rows_R**2 - (answered_RC**2).sum(1))
    return np.divide(covariance_R, np.sqrt(variances_R), out=np.zeros_like(rows_R), where=variances_R > 0)


def _correlation(x: np.ndarray, y: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """Weighted correlation of x and y, [1, P] or [R, P]; 0 where one of them is constant."""
    weights = counts_RP / counts_RP.sum(1, keepdims=True)
    x, y = (values - (weights * values).sum(1, keepdims=True) for values in (x, y))
    covariance, x2, y2 = ((weights * product).sum(1) for product in (x * y, x * x, y * y))
    # What is constant has a variance of rounding errors; those of values up to 1 are below 1e-30.
    known = (x2 > 1e-24) & (y2 > 1e-24)
    return np.divide(covariance, np.sqrt(x2 * y2), out=np.zeros_like(x2), where=known)


def _scaled(values_P: np.ndarray) -> np.ndarray:
    """Values less their mean, scaled to at most 1, [1, P]; a correlation does not change."""
    centred = values_P.astype(np.float64) - values_P.mean(dtype=np.float64)
    return centred[None] / (np.abs(centred).max() or 1.0)


def _ranks(values_P: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """Mean ranks of the values in each resample, [R, P], ties (copies too) sharing theirs, scaled to at most 1."""
    _, group_P = np.unique(values_P, return_inverse=True)
    order = np.argsort(group_P, kind="stable")
    starts = np.flatnonzero(np.diff(group_P[order], prepend=-1))
    counts_RG = np.add.reduceat(counts_RP[:, order], starts, axis=1)
    ranks_RG = np.cumsum(counts_RG, axis=1) - (counts_RG - 1) / 2
    return ranks_RG[:, group_P] / counts_RP.sum(1, keepdims=True)

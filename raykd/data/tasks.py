"""What is learnt: the hard loss of a row, the metrics of a split, and what the majority class would score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from sklearn import metrics
from torch.nn import functional

from raykd.data.batch import has_label
from raykd.data.rows import NO_CLASS

METRICS = {
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("pearson", "spearman", "mse"),
}


@dataclass(frozen=True)
class Task:
    """A classification with named classes, or a regression.

    Attributes:
        type: classification or regression.
        best_by: the metric that chooses the best checkpoint.
        labels: class names in the order of the logit columns; empty for a regression.
    """

    type: str
    best_by: str
    labels: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Columns of the logits, C: 1 for a regression."""
        return len(self.labels) if self.type == "classification" else 1

    def hard_loss(self, logits_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """The loss against the label, [B] in the logits' dtype: cross-entropy or squared error; 0 without a label."""
        if self.type == "classification":
            return functional.cross_entropy(logits_BC, labels_B, reduction="none", ignore_index=NO_CLASS)
        # Not NaN · 0: the gradient of a row without a label is 0 too.
        labels_B = labels_B.to(logits_BC.dtype).where(has_label(labels_B), logits_BC[:, 0].detach())
        return (logits_BC[:, 0] - labels_B) ** 2

    def scores(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """All metrics of the task, from logits [N, C] and labels [N].

        Classification: accuracy, f1 (of class 1 when there are two, else the macro mean), matthews. Regression:
        pearson, spearman, mse. A correlation with something constant is 0. All are NaN where any logit is NaN or
        infinite: the largest of such logits would be class 0 whatever the row.
        """
        if not np.isfinite(logits).all():
            return dict.fromkeys(METRICS[self.type], float("nan"))
        if self.type == "regression":
            predicted, gold = logits[:, 0].astype(np.float64), labels.astype(np.float64)
            constant = np.ptp(predicted) == 0 or np.ptp(gold) == 0
            return {
                "pearson": 0.0 if constant else float(stats.pearsonr(predicted, gold).statistic),
                "spearman": 0.0 if constant else float(stats.spearmanr(predicted, gold).statistic),
                "mse": float(np.mean((predicted - gold) ** 2)),
            }
        chosen = logits.argmax(axis=1)
        average = "binary" if self.classes == 2 else "macro"
        return {
            "accuracy": float(metrics.accuracy_score(labels, chosen)),
            "f1": float(metrics.f1_score(labels, chosen, average=average, zero_division=0)),
            "matthews": float(metrics.matthews_corrcoef(labels, chosen)),
        }

    def majority(self, labels: np.ndarray) -> float:
        """`best_by` of one who always answers the most frequent class; 0 for correlations."""
        if self.type == "regression":
            return 0.0
        counts = np.bincount(labels.astype(np.int64), minlength=self.classes)
        always = np.zeros((len(labels), self.classes))
        always[:, counts.argmax()] = 1.0
        return self.scores(always, labels)[self.best_by]

"""What the policy sees of a row and a teacher: s_ik = [R(x_i); p_k(x_i); CE_k(x_i)], standardised on the training set.

Each of the three parts is divided by the root of its width after it is standardised, so that they speak with one
voice: else hundreds of entries of a sentence vector drown the two that say whether the teacher is right, and under
Adam, whose steps do not shrink with a gradient, their noise would be most of what the policy learns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.objective.kl import softened_kl
from raykd.weighting.policy.model import StateSpec
from raykd.weighting.rules import entropy, gold_losses

FAR = 5.0
"""Standardised entries are cut here: a loss has a long tail."""
CHUNK = 1024

Rows = Callable[[np.ndarray], np.ndarray]
"""ids → their vectors [B, H], or their logits [K, B, C]."""


class StateEncoder:
    """Builds states; `fit` or `scaling` first.

    Args:
        sentences: R, the frozen sentence vectors of rows.
        cross_fitted: teachers' logits that were not fitted on the row that they are asked for, in place of those that
            the student learns from (`cross_fit`); None: these.
    """

    def __init__(self, layout: StateSpec, task: Task, sentences: Rows, cross_fitted: Rows | None = None) -> None:
        self.layout, self.task, self.sentences, self.cross_fitted = layout, task, sentences, cross_fitted
        self.scaling: dict[str, torch.Tensor] = {}

    def fit(self, ids: np.ndarray, labels: np.ndarray, targets: Rows) -> None:
        """Takes mean and deviation of every entry over the training rows, in two passes over blocks of them."""
        sums: dict[str, torch.Tensor] = {}
        for power in (1, 2):
            for start in range(0, len(ids), CHUNK):
                some = ids[start : start + CHUNK]
                logits_KBC = torch.from_numpy(np.asarray((self.cross_fitted or targets)(some), np.float64))
                raw = self._raw(some, logits_KBC, torch.from_numpy(labels[start : start + CHUNK]))
                for name, value in raw.items():
                    at = (value.double() - self.scaling[f"{name}.mean"]) ** 2 if power == 2 else value.double()
                    sums[name] = sums.get(name, 0) + at.sum(0)
            kind = "mean" if power == 1 else "std"
            for name, total in sums.items():
                mean = total / len(ids)
                # What never varies says nothing: it stays at 0.
                self.scaling[f"{name}.{kind}"] = mean if power == 1 else mean.sqrt().where(mean > 1e-20, torch.inf)
            sums = {}
        self.scaling = {name: value.float() for name, value in self.scaling.items()}

    def of(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """States [B, K, F], float32, on the CPU."""
        served = torch.from_numpy(np.asarray(self.cross_fitted(batch.ids))) if self.cross_fitted else logits_KBC
        raw = self._raw(batch.ids, served.cpu(), batch.labels_B.cpu())
        parts = []
        for name, value in raw.items():
            scaled = (value.float() - self.scaling[f"{name}.mean"]) / self.scaling[f"{name}.std"]
            parts.append(scaled.clamp(-FAR, FAR) / value.shape[-1] ** 0.5)
        teachers = len(self.layout.teachers)
        sentence_BH, probabilities_BKC, loss_BK1 = parts
        state = [sentence_BH.unsqueeze(1).expand(-1, teachers, -1), probabilities_BKC, loss_BK1]
        if self.layout.student:
            assert student_BC is not None
            state.append(self._student(student_BC.float().cpu(), logits_KBC.float().cpu()))
        return torch.cat(state, dim=-1)

    def _raw(self, ids: np.ndarray, logits_KBC: torch.Tensor, labels_B: torch.Tensor) -> dict[str, torch.Tensor]:
        answers_KBC = logits_KBC if self.layout.classes == 1 else F.softmax(logits_KBC, dim=-1)
        return {
            "sentence": torch.from_numpy(np.asarray(self.sentences(ids))),
            "answer": answers_KBC.transpose(0, 1),
            "loss": (
                gold_losses(self.task, logits_KBC, labels_B) if self.layout.labeled else entropy(logits_KBC)
            ).T.unsqueeze(-1),
        }

    def _student(self, student_BC: torch.Tensor, logits_KBC: torch.Tensor) -> torch.Tensor:
        """The student's entropy as a share of its largest, and its distance from each teacher, both in [−1, 1].

        They change while the student learns, so they are bounded by their form and not standardised.
        """
        teachers = logits_KBC.shape[0]
        if self.layout.classes == 1:
            distance_KB = (logits_KBC - student_BC).square().mean(-1)
            unsure_B = torch.zeros(len(student_BC))
        else:
            distance_KB = softened_kl(F.log_softmax(logits_KBC, dim=-1), student_BC, 1.0).clamp_min(0)
            unsure_B = 2 * entropy(student_BC) / np.log(self.layout.classes) - 1
        near_BK = 2 * (distance_KB / (1 + distance_KB)).T - 1
        return torch.stack([unsure_B.unsqueeze(-1).expand(-1, teachers), near_BK], dim=-1)

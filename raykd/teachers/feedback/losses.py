"""What a teacher that learns is moved by, each term as a cotangent on its logits: ω c, γ CE, κ KD, the anchor."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from raykd.config import FeedbackConfig
from raykd.data.splits import Split
from raykd.data.tasks import Task
from raykd.teachers.feedback.message import TeacherFeedback
from raykd.teachers.local import LocalTeacher


class TeacherLosses:
    """The student's feedback, and the teacher's own losses as far as they have a weight (METHODS section 1).

    Args:
        temperature: τ of its divergence from the student (κ).
    """

    def __init__(self, feedback: FeedbackConfig, task: Task, temperature: float, local: LocalTeacher) -> None:
        self.weight, self.task, self.temperature, self.local = feedback.weight, task, temperature, local
        own = (
            ("ce", feedback.own_ce, self._own_ce),
            ("kd", feedback.teacher_kd, self._own_kd),
            ("reference", feedback.teacher_reference_kl, self._anchor),
        )
        self._own = {name: (weight, loss) for name, weight, loss in own if weight}

    @property
    def names(self) -> list[str]:
        """Of all terms and, beside them, `second`: an independent quiz's feedback, which is only measured."""
        return ["feedback", "second", *self._own]

    def cotangents(
        self, split: Split, ids: np.ndarray, logits_BC: torch.Tensor, message: TeacherFeedback, measured: bool = False
    ) -> dict[str, torch.Tensor]:
        """Cotangents [B, C] on the logits of these rows by name, each with its weight.

        Args:
            measured: `second` with them, where the lesson has it.
        """
        terms = {"feedback": self.weight * self._tensor(message.cotangent)}
        if measured and message.second is not None:
            terms["second"] = self.weight * self._tensor(message.second)
        leaf = logits_BC.detach().requires_grad_()
        for name, (weight, loss) in self._own.items():
            total = weight * loss(leaf, split, ids, message).sum() / message.global_rows
            (terms[name],) = torch.autograd.grad(total, leaf)
        return terms

    def _own_ce(self, leaf: torch.Tensor, split: Split, ids: np.ndarray, message: TeacherFeedback) -> torch.Tensor:
        labels = self.local.encoder(split).rows.labels(ids)
        return self.task.hard_loss(leaf, torch.from_numpy(labels).to(leaf.device))

    def _own_kd(self, leaf: torch.Tensor, split: Split, ids: np.ndarray, message: TeacherFeedback) -> torch.Tensor:
        """LGTM (Ren et al., ACL 2023): the teacher's distance from what the student says."""
        assert message.student is not None
        return _divergence(self._tensor(message.student), leaf, self.temperature)

    def _anchor(self, leaf: torch.Tensor, split: Split, ids: np.ndarray, message: TeacherFeedback) -> torch.Tensor:
        assert message.reference is not None
        return _divergence(self._tensor(message.reference), leaf, 1.0)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        # A copy: what came over the wire may be read-only memory of the object store.
        return torch.from_numpy(array.copy()).to(self.local.device)


def _divergence(fixed_BC: torch.Tensor, learning_BC: torch.Tensor, temperature: float) -> torch.Tensor:
    """τ² KL(fixed ‖ learning) of each row, [B]; of one logit the squared difference."""
    if fixed_BC.shape[1] == 1:
        return (learning_BC - fixed_BC).square()[:, 0]
    fixed = F.log_softmax(fixed_BC / temperature, -1)
    learning = F.log_softmax(learning_BC / temperature, -1)
    return temperature**2 * (fixed.exp() * (fixed - learning)).sum(-1)

"""MetaDistil: φ = θ_S − η∇L_S, ℓ = CE_quiz(φ), θ_T ← step(∇_{θ_T} ℓ), then θ_S steps on the improved teacher's targets.

Zhou, Xu, McAuley, "BERT Learns to Teach", ACL 2022, arXiv 2106.04570, section 3; docs/methods.md, section "MetaDistil".
"""

from __future__ import annotations

import time

import numpy as np
import torch

from raykd.config import MetaDistilConfig
from raykd.data.batch import Batch
from raykd.feedback import cotangent
from raykd.feedback.base import Round
from raykd.feedback.context import FeedbackContext
from raykd.feedback.kept_step import KeptStep


class MetaDistil(KeptStep):
    """A pilot step on a copy, rolled back before the real one; without the roll-back the student keeps its own step."""

    settings: MetaDistilConfig
    _logits: torch.Tensor | None = None

    def __init__(self, context: FeedbackContext) -> None:
        super().__init__(context)
        if not self.settings.rollback:
            self.surrogate = "the derivative of the student's AdamW step is replaced by that of a plain SGD step"

    def before(self, now: Round) -> list[torch.Tensor]:
        """Pilot, quiz, cotangents, the teachers' step; returns their new targets, [K, B, C] of each micro-batch.

        With ω = 0 there is no pilot: no teacher would use its quiz. Without the roll-back all of this comes after the
        student's step, which uses the teachers as they are.
        """
        if not self.settings.rollback:
            return super().before(now)
        if not self.due(now.step):
            return now.targets
        begun, measure = time.perf_counter(), self._measure_now()
        theta, micros = self._parameters(now), self._micros(now)
        if self.differentiates(now.step):
            self._try_out(now, theta, micros, measure, begun)
        else:
            outputs = [cotangent.outputs_at(theta, micro, self.route) for micro in micros]
            self._send_feedback(now, micros, theta, outputs, [], {}, measure, begun)
        fresh = [self._fresh(batch.ids, old) for batch, old in zip(now.batches, now.targets, strict=True)]
        self.seconds += time.perf_counter() - begun
        return fresh

    def _try_out(
        self, now: Round, theta: dict[str, torch.Tensor], micros: list[cotangent.Micro], measure: bool, begun: float
    ) -> None:
        """The pilot, its quiz, and the teachers' step."""
        quiz_loss = self.context.quiz_loss
        # More than one micro-batch is there to save memory, which their graphs would take.
        reuse = not self.context.autocast and len(micros) == 1
        rate = self.settings.pilot_lr or self.context.lr
        phi, outputs = cotangent.pilot(theta, micros, rate, self._reduce, self.route, retain=reuse)
        v, after = cotangent.quiz_gradient(phi, quiz_loss.loss(now.model, now.step, 0), self._reduce)
        directions, quiz = [v], {"after": after}
        if measure:
            second, _ = cotangent.quiz_gradient(phi, quiz_loss.loss(now.model, now.step, 1), self._reduce)
            directions.append(second)
            with torch.no_grad():
                quiz["before"] = quiz_loss.loss(now.model, now.step, 0)(theta)
        if reuse:
            self._logits = outputs[0][0]
        self._send_feedback(now, micros, theta, outputs, directions, quiz, measure, begun)

    def after(self, now: Round, optimizer: torch.optim.Optimizer) -> None:
        """Without the roll-back: the quiz after the student's own step, and the teachers' step."""
        if not self.settings.rollback:
            super().after(now, optimizer)

    def differentiates(self, step: int) -> bool:
        """In every round that has a pilot and its quiz."""
        return self.due(step) and self.settings.rollback and bool(self.settings.weight)

    def derivative(self, batch: Batch) -> torch.Tensor:
        """Of the round's first quiz, along which the teachers' cotangents are taken too."""
        return self._taken[batch.step, batch.micro]

    def logits(self, batch: Batch) -> torch.Tensor | None:
        """The pilot's: after the roll-back parameters and masks are the same."""
        kept, self._logits = self._logits, None
        return kept

    def _fresh(self, ids: np.ndarray, old_KBC: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.context.teachers.get(ids)).to(old_KBC.device, old_KBC.dtype)

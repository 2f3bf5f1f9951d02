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
from raykd.feedback.cotangent_feedback import CotangentFeedback


class MetaDistil(CotangentFeedback):
    """A pilot step on a copy, rolled back before the real one."""

    settings: MetaDistilConfig
    _logits: torch.Tensor | None = None

    def before(self, now: Round) -> list[torch.Tensor]:
        """Pilot, quiz, cotangents, the teachers' step; returns their new targets, [K, B, C] of each micro-batch.

        With ω = 0 there is no pilot: no teacher would use its quiz.
        """
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
        reuse = self.settings.rollback and not self.context.autocast and len(micros) == 1
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
        if not self.settings.rollback:
            self._keep(now, phi)

    def differentiates(self, step: int) -> bool:
        """In every round that has a quiz."""
        return self.due(step) and bool(self.settings.weight or not self.settings.rollback)

    def derivative(self, batch: Batch) -> torch.Tensor:
        """Of the round's first quiz, along which the teachers' cotangents are taken too."""
        return self._taken[batch.step, batch.micro]

    def logits(self, batch: Batch) -> torch.Tensor | None:
        """The pilot's: after the roll-back parameters and masks are the same."""
        kept, self._logits = self._logits, None
        return kept

    def _fresh(self, ids: np.ndarray, old_KBC: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.context.teachers.get(ids)).to(old_KBC.device, old_KBC.dtype)

    def _keep(self, now: Round, phi: dict[str, torch.Tensor]) -> None:
        """The ablation without roll-back: the real step starts where the pilot ended."""
        with torch.no_grad():
            for name, parameter in now.model.named_parameters():
                if name in phi:
                    parameter.copy_(phi[name])

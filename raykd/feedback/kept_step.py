"""Rounds in which the student keeps its step: θ_S' by its optimizer, ℓ = CE(z_S(x_q; θ_S'), y_q), then the teachers.

v = ∇ℓ is taken at θ_S', u = J_S·v at the kept copy of θ_S under the masks of the step; docs/methods.md, sections
"MetaDistil" (`rollback: false`) and "IKD".
"""

from __future__ import annotations

import time

import torch

from raykd.feedback import cotangent
from raykd.feedback.base import Round
from raykd.feedback.context import FeedbackContext
from raykd.feedback.cotangent_feedback import CotangentFeedback


class KeptStep(CotangentFeedback):
    """The teachers are a step behind: the student's was made on their targets of before."""

    def __init__(self, context: FeedbackContext) -> None:
        super().__init__(context)
        self._kept: dict[str, torch.Tensor] = {}

    def before(self, now: Round) -> list[torch.Tensor]:
        """Keeps θ_S; the student's step uses the teachers as they are."""
        if self.due(now.step):
            self._kept = {name: tensor.detach().clone() for name, tensor in self._parameters(now).items()}
        return now.targets

    def after(self, now: Round, optimizer: torch.optim.Optimizer) -> None:
        """The quiz at θ_S', cotangents through the student's step, the teachers' step."""
        if not self.due(now.step):
            return
        begun, measure, quiz_loss = time.perf_counter(), self._measure_now(), self.context.quiz_loss
        theta, stepped = self._kept, self._parameters(now)
        now.model.train()
        micros = self._micros(now)
        outputs = [cotangent.outputs_at(theta, micro, self.route) for micro in micros]
        # With ω = 0 no teacher uses a quiz.
        quizzes = 0 if not self.settings.weight else 2 if measure else 1
        draws = [quiz_loss.loss(now.model, now.step, draw) for draw in range(quizzes)]
        quiz: dict[str, torch.Tensor] = {}
        directions = []
        for loss in draws:
            v, share = cotangent.quiz_gradient(stepped, loss, self._reduce)
            quiz.setdefault("after", share)
            directions.append(self._through_step(v, now, optimizer))
        if draws and measure:
            with torch.no_grad():
                quiz["before"] = draws[0](theta)
        self._send_feedback(now, micros, theta, outputs, directions, quiz, measure, begun)
        self._kept = {}
        self.seconds += time.perf_counter() - begun

    def _through_step(
        self, v: dict[str, torch.Tensor], now: Round, optimizer: torch.optim.Optimizer
    ) -> dict[str, torch.Tensor]:
        """−1/η · (∂θ_S'/∂∇L_S)ᵀ v of the student's step: v itself, as of a plain SGD step."""
        return v

"""IKD: the student keeps its course step to θ_S'; exam ℓ = CE(z_S(x_e; θ_S'), y_e); θ_T ← step(∇_{θ_T} ℓ + γ∇CE_T).

Liu, Sun, Qiu, Huang, "Learning to Teach with Student Feedback", arXiv 2109.04641; docs/methods.md, section "IKD".
"""

from __future__ import annotations

import time
from typing import Any

import torch

from raykd.feedback import cotangent
from raykd.feedback.base import Round
from raykd.feedback.context import FeedbackContext
from raykd.feedback.cotangent_feedback import CotangentFeedback


class IKD(CotangentFeedback):
    """No roll-back: u is taken at the kept θ_S, v at θ_S'."""

    surrogate = (
        "the derivative of the student's AdamW step is replaced by 1/(√v̂ + ε) with v̂ held constant and clipping ignored"
    )

    def __init__(self, context: FeedbackContext) -> None:
        super().__init__(context)
        self._kept: dict[str, torch.Tensor] = {}
        self._reached: dict[str, torch.Tensor] = {}

    def before(self, now: Round) -> list[torch.Tensor]:
        """Keeps θ_S; the course step uses the teachers as they are."""
        if self.due(now.step):
            self._kept = {name: tensor.detach().clone() for name, tensor in self._parameters(now).items()}
        return now.targets

    def gradient_summed(self, now: Round) -> None:
        """Keeps which parameters the course step's batch reaches, of all workers and micro-batches."""
        if self.due(now.step):
            self._reached = {
                name: torch.zeros_like(p, dtype=torch.bool) if p.grad is None else p.grad != 0
                for name, p in self._parameters(now).items()
            }

    def after(self, now: Round, optimizer: torch.optim.Optimizer) -> None:
        """The exam, cotangents through the course step, the teachers' step."""
        if not self.due(now.step):
            return
        begun, measure, quiz_loss = time.perf_counter(), self._measure_now(), self.context.quiz_loss
        theta, stepped = self._kept, self._parameters(now)
        now.model.train()
        micros = self._micros(now)
        outputs = [cotangent.outputs_at(theta, micro, self.route) for micro in micros]
        # With ω = 0 no teacher uses an exam.
        exams = 0 if not self.settings.weight else 2 if measure else 1
        draws = [quiz_loss.loss(now.model, now.step, draw) for draw in range(exams)]
        quiz: dict[str, torch.Tensor] = {}
        directions = []
        for loss in draws:
            v, share = cotangent.quiz_gradient(stepped, loss, self._reduce)
            quiz.setdefault("after", share)
            directions.append(self._through_adam(v, now, optimizer))
        if draws and measure:
            with torch.no_grad():
                quiz["before"] = draws[0](theta)
        self._send_feedback(now, micros, theta, outputs, directions, quiz, measure, begun)
        self._kept, self._reached = {}, {}
        self.seconds += time.perf_counter() - begun

    def _through_adam(
        self, v: dict[str, torch.Tensor], now: Round, optimizer: torch.optim.Optimizer
    ) -> dict[str, torch.Tensor]:
        groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        moments, eps = {}, 0.0
        for name, parameter in now.model.named_parameters():
            if name in v:
                state: dict[str, Any] = optimizer.state[parameter]
                _, beta2 = groups[parameter]["betas"]
                moments[name] = state["exp_avg_sq"] / (1 - beta2 ** float(state["step"]))
                eps = groups[parameter]["eps"]
        return cotangent.adam_preconditioned(v, moments, eps, self._reached)

"""IKD: the student keeps its course step to θ_S'; exam ℓ = CE(z_S(x_e; θ_S'), y_e); θ_T ← step(∇_{θ_T} ℓ + γ∇CE_T).

Liu, Sun, Qiu, Huang, "Learning to Teach with Student Feedback", arXiv 2109.04641; docs/methods.md, section "IKD".
"""

from __future__ import annotations

from typing import Any

import torch

from raykd.feedback import cotangent
from raykd.feedback.base import Round
from raykd.feedback.context import FeedbackContext
from raykd.feedback.kept_step import KeptStep


class IKD(KeptStep):
    """The student keeps its course step, whose derivative is that of Adam's preconditioner."""

    surrogate = (
        "the derivative of the student's AdamW step is replaced by 1/(√v̂ + ε) with v̂ held constant and clipping ignored"
    )

    def __init__(self, context: FeedbackContext) -> None:
        super().__init__(context)
        self._reached: dict[str, torch.Tensor] = {}

    def gradient_summed(self, now: Round) -> None:
        """Keeps which parameters the course step's batch reaches, of all workers and micro-batches."""
        if self.due(now.step):
            self._reached = {
                name: torch.zeros_like(p, dtype=torch.bool) if p.grad is None else p.grad != 0
                for name, p in self._parameters(now).items()
            }

    def after(self, now: Round, optimizer: torch.optim.Optimizer) -> None:
        """The exam, cotangents through the course step, the teachers' step."""
        super().after(now, optimizer)
        self._reached = {}

    def _through_step(
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

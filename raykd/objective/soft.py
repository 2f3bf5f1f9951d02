"""Losses on logits: KD_τ = τ² Σ_c q_c (log q_c − log p_S,c^τ), q = Σ_k w_k p_k^τ; (z_S − Σ_k w_k z_k)²; −log p_S,ŷ."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from raykd.config import KLConfig, MSEConfig, PseudoLabelConfig
from raykd.objective.kl import log_blend, softened_kl


class SoftenedKL:
    """Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2, on a blend of teachers.

    A softmax over one logit is constant, so a regression (C = 1) takes the squared error instead.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    @classmethod
    def from_config(cls, config: KLConfig) -> SoftenedKL:
        """Softens both sides by the configured τ."""
        return cls(config.temperature)

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """KD_τ of each row, [B]; student_BC and targets_KBC are logits, weights_BK sum to 1 over K.

        Where weights_BK requires a gradient, the mixed derivative ∂²KD/∂z_S∂w is finite, at weights of 0 too.
        """
        if student_BC.shape[1] == 1:
            return squared_error(student_BC, targets_KBC, weights_BK)
        tau = self.temperature
        teacher_log_KBC = F.log_softmax(targets_KBC / tau, dim=-1)
        if weights_BK.requires_grad:
            # Of log w the derivative at a weight of 0, and of log q where q underflows, is infinite: the blend itself
            # is linear in w, and ∂KD/∂z_S depends on w through it alone.
            blend_BC = blend(teacher_log_KBC.exp(), weights_BK)
            log_student_BC = F.log_softmax(student_BC / tau, dim=-1)
            return tau**2 * -(torch.special.entr(blend_BC) + blend_BC * log_student_BC).sum(-1)
        return softened_kl(log_blend(teacher_log_KBC, weights_BK), student_BC, tau)


class MeanSquaredError:
    """Mean over classes of (z_S − Σ_k w_k z_k)² (Ba and Caruana, "Do Deep Nets Really Need to be Deep?", 2014)."""

    @classmethod
    def from_config(cls, config: MSEConfig) -> MeanSquaredError:
        """The loss, which has no settings of its own."""
        return cls()

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The squared error of each row's logits, [B]."""
        return squared_error(student_BC, targets_KBC, weights_BK)


class PseudoLabel:
    """−log p_S,ŷ with ŷ = arg max_c Σ_k w_k p_k,c: what is left of a soft target that says only its largest class."""

    @classmethod
    def from_config(cls, config: PseudoLabelConfig) -> PseudoLabel:
        """The loss, which has no settings of its own."""
        return cls()

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The cross-entropy of each row, [B]; of one logit the squared error to Σ_k w_k z_k."""
        if student_BC.shape[1] == 1:
            return squared_error(student_BC, targets_KBC, weights_BK)
        answers_B = blend(targets_KBC.softmax(-1), weights_BK).argmax(-1)
        return F.cross_entropy(student_BC, answers_B, reduction="none")


def squared_error(student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor) -> torch.Tensor:
    """Mean over classes of the squared distance to the weighted mean of the teachers' logits, [B]."""
    return (student_BC - blend(targets_KBC, weights_BK)).square().mean(-1)


def blend(values_KBC: torch.Tensor, weights_BK: torch.Tensor) -> torch.Tensor:
    """Σ_k w_k v_k, [B, C]; no einsum, which autocast would do in half precision."""
    return (weights_BK.T.unsqueeze(-1) * values_KBC).sum(0)

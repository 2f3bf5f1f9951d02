"""DKD = a · τ² KL(target vs rest) + b · τ² KL(softmax over the rest): the parts of KD_τ, each with a weight of its own.

Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679, section 3; docs/methods.md, section
"The student's loss".
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from raykd.config import DKDConfig
from raykd.objective.kl import log_blend

LARGEST_RATIO = 1e4
"""Of Σ_{c≠t} p_k,c to Σ_{c≠t} q_c, in the derivative by w_k: beyond it a weight of 1e-4 makes another q̂ altogether."""


class DecoupledKD:
    """With t = arg max_c q_c of the blend q = Σ_k w_k p_k^τ, for rows with and without a label alike.

    In the paper t is the label. KD_τ is the sum of the two parts for a = 1 and b = 1 − q_t.

    Args:
        temperature: τ.
        target: a, of the divergence between (q_t, 1 − q_t) and (p_t, 1 − p_t).
        non_target: b, of the divergence between q_c / (1 − q_t) and p_c / (1 − p_t), c ≠ t; 0 where C = 2.
    """

    def __init__(self, temperature: float, target: float, non_target: float) -> None:
        self.temperature, self.target, self.non_target = temperature, target, non_target

    @classmethod
    def from_config(cls, config: DKDConfig) -> DecoupledKD:
        """Softens both sides by the configured τ and weighs the parts as configured."""
        return cls(config.temperature, config.target, config.non_target)

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """DKD of each row, [B]; student_BC and targets_KBC are logits with C ≥ 2, weights_BK sum to 1 over K.

        Where weights_BK requires a gradient, the mixed derivative ∂²DKD/∂z_S∂w is finite, at weights of 0 too. The
        derivative of t, which is constant but for jumps, is 0.
        """
        tau = self.temperature
        teacher_log_KBC = F.log_softmax(targets_KBC / tau, dim=-1)
        log_q_BC = log_blend(teacher_log_KBC, weights_BK.detach())
        answers_B1 = log_q_BC.argmax(-1, keepdim=True)
        log_pair_B2, log_rest_BR = _parts(log_q_BC, answers_B1)
        student_B2, student_BR = _parts(student_BC / tau, answers_B1)
        pair_B2, rest_BR = log_pair_B2.exp(), log_rest_BR.exp()
        if weights_BK.requires_grad:
            # The values stay those of the logarithms, whose derivative at a weight of 0 is infinite.
            moved_KB1 = (weights_BK - weights_BK.detach()).T.unsqueeze(-1)
            each_pair_KB2, each_rest_KBR = _parts(teacher_log_KBC, answers_B1.expand(len(teacher_log_KBC), -1, -1))
            ratio_KB1 = (each_pair_KB2 - log_pair_B2)[..., 1:].clamp(max=math.log(LARGEST_RATIO)).exp()
            pair_B2 = pair_B2 + (moved_KB1 * each_pair_KB2.exp()).sum(0)
            rest_BR = rest_BR + (moved_KB1 * ratio_KB1 * (each_rest_KBR.exp() - rest_BR)).sum(0)
        target_B = (pair_B2 * (log_pair_B2 - F.log_softmax(student_B2, dim=-1))).sum(-1)
        non_target_B = (rest_BR * (log_rest_BR - student_BR)).sum(-1)
        return tau**2 * (self.target * target_B + self.non_target * non_target_B)


def _parts(logits_BC: torch.Tensor, answers_B1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(z_t, log Σ_{c≠t} exp z_c), [B, 2], and the log-softmax over the classes c ≠ t, [B, C − 1]; keeps leading axes.

    The target's column is left out instead of being masked: all logarithms are finite, and no 0 meets a −inf.
    """
    columns_R = torch.arange(logits_BC.shape[-1] - 1, device=logits_BC.device)
    others_BR = logits_BC.gather(-1, columns_R + (columns_R >= answers_B1))
    sum_B1 = others_BR.logsumexp(-1, keepdim=True)
    return torch.cat([logits_BC.gather(-1, answers_B1), sum_B1], dim=-1), others_BR - sum_B1

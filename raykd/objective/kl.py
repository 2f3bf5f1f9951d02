"""KD_τ = τ² Σ_c q_c (log q_c − log p_c^τ): one divergence for the student's loss, the teachers' own and the policy.

And the blend q = Σ_k w_k p_k^τ of several teachers, in logarithms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def softened_kl(log_q_BC: torch.Tensor, logits_BC: torch.Tensor, temperature: float) -> torch.Tensor:
    """τ² KL(q ‖ softmax(z / τ)) of each row, [B] (leading axes are kept and broadcast).

    Args:
        log_q_BC: log-probabilities of the target, softened already; −inf where q is 0.
        logits_BC: z, logits that are not yet softened.
        temperature: τ.
    """
    q_BC = log_q_BC.exp()
    # Where q underflows to 0 the term is 0 by continuity; its log of −inf must not meet the product.
    log_q_BC = log_q_BC.masked_fill(q_BC == 0, 0.0)
    return temperature**2 * (q_BC * (log_q_BC - F.log_softmax(logits_BC / temperature, dim=-1))).sum(-1)


def log_blend(teacher_log_KBC: torch.Tensor, weights_BK: torch.Tensor) -> torch.Tensor:
    """log Σ_k w_k p_k, [B, C], of log-probabilities of the teachers; weights_BK ≥ 0 sum to 1 over K.

    By log-sum-exp: a weight of 0 becomes −inf and drops out without a 0 · −inf. Its derivative by a weight of 0 is
    infinite, that by the teachers' logits is not.
    """
    return torch.logsumexp(teacher_log_KBC + weights_BK.T.log().unsqueeze(-1), dim=0)

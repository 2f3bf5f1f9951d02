"""DIST = β (1 − ρ over the classes of each row) + γ (1 − ρ over the rows of the batch, for each class), ρ Pearson's.

Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536, section 3;
docs/methods.md, section "The student's loss".
"""

from __future__ import annotations

import torch

from raykd.config import DISTConfig
from raykd.objective.soft import blend

LEAST_VARIANCE = 1e-12
"""Added to each variance: probabilities that differ by less than about 1e-6 are constant, and constants have ρ = 0."""


class CorrelationLoss:
    """Correlations of the softened probabilities of the student and of the blend q = Σ_k w_k p_k^τ.

    The second term belongs to the batch and counts for each of its rows alike: the mean of the rows' losses is DIST.
    So the rows must be those of the whole batch; over several workers `WholeBatch` brings them together.

    Args:
        temperature: τ.
        beta: β, of the correlation over the classes of a row; left out where C = 2, where it is ±1 and its gradient 0.
        gamma: γ, of the correlation over the rows of the batch, a mean over classes.
    """

    def __init__(self, temperature: float, beta: float, gamma: float) -> None:
        self.temperature, self.beta, self.gamma = temperature, beta, gamma

    @classmethod
    def from_config(cls, config: DISTConfig) -> CorrelationLoss:
        """Softens both sides by the configured τ and weighs the terms as configured."""
        return cls(config.temperature, config.beta, config.gamma)

    def per_example(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each row, [B]; student_BC and targets_KBC are logits with C ≥ 2, weights_BK sum to 1 over K."""
        p_BC = (student_BC / self.temperature).softmax(-1)
        q_BC = blend((targets_KBC / self.temperature).softmax(-1), weights_BK)
        of_batch = self.gamma * (1 - correlation(p_BC, q_BC, dim=0)).mean()
        rows, classes = p_BC.shape
        if classes == 2:
            return of_batch.expand(rows)
        return of_batch + self.beta * (1 - correlation(p_BC, q_BC, dim=1))


def correlation(x: torch.Tensor, y: torch.Tensor, dim: int) -> torch.Tensor:
    """Pearson's ρ along an axis, which is dropped; 0 with a gradient of 0 where both are constant, as in a batch of one
    row."""
    x, y = x - x.mean(dim, keepdim=True), y - y.mean(dim, keepdim=True)
    variances = (x.square().mean(dim) + LEAST_VARIANCE) * (y.square().mean(dim) + LEAST_VARIANCE)
    return (x * y).mean(dim) * variances.rsqrt()

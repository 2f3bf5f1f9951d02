"""A loss that couples the rows of a batch, over several workers: each computes it of all rows and moves its own.

With the rows of all workers in it and only this worker's logits in the graph, the gradient that a worker takes is that
of the whole loss by its own logits, so that summed over workers it is the gradient of the whole batch on one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from raykd.objective.base import Objective
from raykd.training import collective


@dataclass(frozen=True)
class WholeBatch:
    """The soft part Σ_i α_i soft_i of a batch that `world` workers share; worker `rank` has some of its rows, or none.

    All workers call `soft` or `join` once a batch: it takes a collective. α_i is `alpha`, or 1 without a label.
    """

    objective: Objective
    alpha: float
    rank: int
    world: int

    def soft(
        self, student_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor, labeled_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The soft losses of this worker's rows, [B], and a scalar of value 0 for those of the others.

        Its gradient is that of Σ_j α_j soft_j over the other workers' rows j by this worker's logits. The others have
        the values in their own sums, but not what these rows change in them.
        """
        share_B = torch.ones_like(student_BC[:, 0]).masked_fill(labeled_B, self.alpha)
        blocks = self._gathered([student_BC.detach(), targets_KBC.transpose(0, 1).flatten(1), weights_BK, share_B])
        start = sum(map(len, blocks[: self.rank]))
        teachers, rows, classes = targets_KBC.shape
        mine = slice(start, start + rows)
        all_BC, served, all_BK, others_B1 = torch.cat(blocks).split([classes, teachers * classes, teachers, 1], dim=1)
        all_BC = torch.cat([all_BC[:start], student_BC, all_BC[mine.stop :]])
        all_KBC = served.unflatten(1, (teachers, classes)).transpose(0, 1)
        soft_B = self.objective.per_example(all_BC, all_KBC, all_BK).expand(len(all_BC))
        others_B1[mine] = 0
        elsewhere = (others_B1[:, 0] * soft_B).sum()
        return soft_B[mine], elsewhere - elsewhere.detach()

    def join(self) -> None:
        """Takes part in the collective of a batch in which this worker has no rows."""
        collective.gather_rows(np.empty((0, 0)), self.world)

    def _gathered(self, columns: list[torch.Tensor]) -> list[torch.Tensor]:
        """All workers' rows in the order of ranks, the columns beside each other; none of a worker without rows."""
        mine = torch.cat([column.reshape(len(column), -1) for column in columns], dim=1)
        blocks = collective.gather_rows(mine.cpu().numpy(), self.world)
        return [torch.from_numpy(block).to(mine) if len(block) else mine[:0] for block in blocks]

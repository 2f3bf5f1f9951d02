"""e_i = (1 + t_i) / (exp((p_T[y_i] − 1)²) + 1): how far a meta-teacher is an expert on a row; and its domain knowledge.

Pan et al., "Meta-KD", ACL 2021, section 3.3; docs/methods.md, section "Meta-KD: the student".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from raykd.data.batch import Batch
from raykd.data.rows import Rows
from raykd.models import forward
from raykd.models.domain_head import DomainMixer
from raykd.objective.features import linear
from raykd.teachers.prototypes import Prototypes


@dataclass
class Expertise:
    """The weights e of rows.

    Attributes:
        pooled: ids → h, [B, H], of the encoder that the prototypes were taken with.
        rows: of the training split, for their domains.
        scores: t of the rows that have been asked for, by row number and class.
    """

    prototypes: Prototypes
    pooled: Callable[[np.ndarray], np.ndarray]
    rows: Rows
    scores: dict[tuple[int, int], float] = field(default_factory=dict)

    def weights(self, batch: Batch, teacher_BC: torch.Tensor) -> torch.Tensor:
        """e of each row, [B]; of a row without a label the teacher's own answer stands for it, in t too.

        Args:
            teacher_BC: the meta-teacher's logits.
        """
        probabilities_BC = teacher_BC.softmax(-1)
        classes_B = torch.where(batch.labeled, batch.labels_B, probabilities_BC.argmax(-1))
        certainty_B = probabilities_BC.gather(1, classes_B.unsqueeze(-1))[:, 0]
        typical_B = torch.from_numpy(self._typical(batch.ids, classes_B.cpu().numpy())).to(certainty_B)
        return (1 + typical_B) / (torch.exp((certainty_B - 1).square()) + 1)

    def _typical(self, ids: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """t of each row, [B]; each row is taken once: it does not change."""
        keys = list(zip(ids.tolist(), classes.tolist(), strict=True))
        new = [k for k, key in enumerate(keys) if key not in self.scores]
        if new:
            names = self.rows.domains(ids[new]) or [""] * len(new)
            values = self.prototypes.scores(self.pooled(ids[new]), names, classes[new])
            self.scores |= {keys[k]: float(value) for k, value in zip(new, values, strict=True)}
        return np.array([self.scores[key] for key in keys])


class Knowledge(nn.Module):
    """D_i = mean over width of (W_fit o_S − o_T)², o_S = W (E[d] + m) of the student's own mean hidden state.

    It is trained beside the student, and is no part of it.

    Args:
        domains: of the training split's rows.
        width, teacher_width: of the hidden states of student and teacher.
    """

    def __init__(self, domains: Sequence[str], width: int, teacher_width: int, dtype: torch.dtype, seed: int) -> None:
        super().__init__()
        self.mixer = DomainMixer(domains, width, dtype, seed)
        self.fit: nn.Module = nn.Identity()
        if width != teacher_width:
            self.fit = linear(width, teacher_width, dtype, seed, "knowledge")

    def per_example(
        self, last_BLH: torch.Tensor, mask_BL: torch.Tensor, domains: Sequence[str], teacher_BH: torch.Tensor
    ) -> torch.Tensor:
        """D of each row, [B], from the student's last hidden states and the teacher's o_T."""
        own_BH = self.mixer.mixed(forward.masked_mean(last_BLH, mask_BL), self.mixer.index(domains))
        gap_BH = self.fit(own_BH) - teacher_BH
        loss_B: torch.Tensor = gap_BH.square().mean(-1)
        return loss_B

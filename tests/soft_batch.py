"""Logits and weights of a batch, as soft losses take them."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_batch(classes: int, rows: int, spread: float, teachers: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The student's logits [B, C], the teachers' [K, B, C] with this deviation, weights [B, K]; on the first row one
    teacher alone has a weight. In float64, drawn from the number of classes."""
    generator = torch.Generator().manual_seed(classes)
    student_BC = torch.randn(rows, classes, dtype=torch.float64, generator=generator)
    targets_KBC = spread * torch.randn(teachers, rows, classes, dtype=torch.float64, generator=generator)
    weights_BK = torch.rand(rows, teachers, dtype=torch.float64, generator=generator)
    weights_BK[0, 1:] = 0.0
    return student_BC, targets_KBC, weights_BK / weights_BK.sum(1, keepdim=True)

"""AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a linear, cosine or no decay."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from raykd.config import OptimConfig


def build_optimizer(
    model: nn.Module, settings: OptimConfig, beside: nn.Module | None = None, beside_rate: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; no decay on vectors: biases and layer norms.

    Args:
        beside: a module that is trained along with the model.
        beside_rate: its learning rate, as a multiple of the model's.
    """
    further = list(beside.parameters()) if beside is not None else []
    if beside_rate == 1.0:
        groups = _groups([*model.parameters(), *further], settings)
    else:
        faster = [{**group, "rate": beside_rate} for group in _groups(further, settings)]
        groups = [*_groups(list(model.parameters()), settings), *faster]
    return torch.optim.AdamW(groups, lr=settings.lr)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step; a group with a multiple `rate` of its own has so much of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1.0)


def _groups(parameters: list[nn.Parameter], settings: OptimConfig) -> list[dict[str, Any]]:
    """Those that decay and those that do not."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(settings: OptimConfig, step: int, total: int) -> float:
    """The rate of optimizer step `step` (from 0) of `total`; a pure function, so resuming needs no state."""
    warm = max(1, round(settings.warmup_ratio * total)) if settings.warmup_ratio > 0 else 0
    if step < warm:
        return settings.lr * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    match settings.schedule:
        case "linear":
            return settings.lr * (1 - done)
        case "cosine":
            return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
        case "constant":
            return settings.lr


def steps_per_epoch(rows: int, settings: OptimConfig) -> int:
    """Optimizer steps of one pass over the rows; the last batch may be short."""
    return math.ceil(rows / settings.batch_size)


def total_steps(rows: int, settings: OptimConfig) -> int:
    """Optimizer steps of the whole run."""
    wanted = math.ceil(settings.epochs * steps_per_epoch(rows, settings))
    return wanted if settings.max_steps is None else min(wanted, settings.max_steps)

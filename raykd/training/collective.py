"""What workers exchange: summed gradients, summed scalars, gathered rows. With one worker all of it is free."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


def backend(device: torch.device) -> str:
    """The process group's backends by a tensor's device: NCCL cannot sum what was copied to the CPU to be measured."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def sum_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """All-reduces gradients by SUM, as one flat tensor per dtype.

    Losses are divided by the rows of the global batch already, so shards of any size sum to its mean: neither an
    average over ranks nor equal shards are assumed, and a worker without rows joins with zeros. A parameter that has no
    gradient on any worker keeps none, so that the optimizer passes it over as it does with one worker.
    """
    if world == 1:
        return
    by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for dtype, group in by_dtype.items():
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        there = torch.tensor([p.grad is not None for p in group], dtype=dtype, device=group[0].device)
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), there])
        dist.all_reduce(flat)
        start = 0
        for parameter, workers in zip(group, flat[-len(group) :].tolist(), strict=True):
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter) if workers else None
            start += parameter.numel()


def sum_tensors(tensors: list[torch.Tensor], world: int) -> list[torch.Tensor]:
    """All-reduces tensors by SUM, as one flat tensor; all of one dtype."""
    if world == 1 or not tensors:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def broadcast(value: str, world: int) -> str:
    """Worker 0's text, on every worker."""
    if world == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def sum_scalars(values: list[float], place_device: torch.device, world: int) -> list[float]:
    """All-reduces a few numbers by SUM."""
    if world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=place_device)
    dist.all_reduce(tensor)
    return [float(value) for value in tensor]


def gather_rows(rows: np.ndarray, world: int) -> list[np.ndarray]:
    """Every worker's array, in the order of ranks, on every worker."""
    if world == 1:
        return [rows]
    gathered: list[np.ndarray] = [rows] * world
    dist.all_gather_object(gathered, rows)
    return gathered


def barrier(world: int) -> None:
    """Waits until all workers have come here."""
    if world > 1:
        dist.barrier()

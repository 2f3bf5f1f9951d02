"""What processes meet through: a backend for the tensors of either device, and sums of gradients."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from raykd.training import collective


def test_tensors_of_either_device_have_a_backend_beside_a_gpu() -> None:
    """As torch itself reads the string; sums of CPU tensors are not for NCCL."""
    beside_gpu = dist.BackendConfig(dist.Backend(collective.backend(torch.device("cuda", 0))))
    assert beside_gpu.get_device_backend_map() == {"cpu": "gloo", "cuda": "nccl"}
    assert collective.backend(torch.device("cpu")) == "gloo"


def summed(rank: int, folder: str) -> None:
    """The first parameter has a gradient on both workers, the second on one, the third on none, the last is frozen."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = [torch.zeros(2, 3), torch.zeros(4), torch.zeros(5), torch.zeros(2, dtype=torch.float64)]
    parameters = [*map(nn.Parameter, values), nn.Parameter(torch.zeros(1), requires_grad=False)]
    parameters[0].grad = torch.full((2, 3), 1.0 + rank)
    if rank == 1:
        parameters[1].grad = torch.arange(4.0)
    parameters[3].grad = torch.tensor([0.0, rank], dtype=torch.float64)
    collective.sum_gradients(parameters, 2)
    torch.save([parameter.grad for parameter in parameters], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_gradients_are_summed_and_what_has_none_anywhere_keeps_none(tmp_path: Path) -> None:
    mp.spawn(summed, (str(tmp_path),), 2)
    for rank in range(2):
        first, second, third, fourth, frozen = torch.load(tmp_path / f"{rank}.pt")
        assert first.tolist() == [[3.0] * 3] * 2
        assert second.tolist() == [0.0, 1.0, 2.0, 3.0]
        assert third is frozen is None
        assert fourth.tolist() == [0.0, 1.0]

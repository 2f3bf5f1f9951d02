"""What processes meet through: a backend for the tensors of either device."""

from __future__ import annotations

import torch
import torch.distributed as dist

from raykd.training import collective


def test_tensors_of_either_device_have_a_backend_beside_a_gpu() -> None:
    """As torch itself reads the string; sums of CPU tensors are not for NCCL."""
    beside_gpu = dist.BackendConfig(dist.Backend(collective.backend(torch.device("cuda", 0))))
    assert beside_gpu.get_device_backend_map() == {"cpu": "gloo", "cuda": "nccl"}
    assert collective.backend(torch.device("cpu")) == "gloo"

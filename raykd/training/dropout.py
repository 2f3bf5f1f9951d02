"""Dropout masks as a function of the position in a run: their seed, and their being drawn once for several passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class DropoutKey:
    """What tells one worker's forward passes from another's: its dropout masks and their precision."""

    rank: int = 0
    seed: int = 0
    cast: torch.dtype = torch.float32


def dropout_seed(seed: int, step: int, micro: int, rank: int) -> int:
    """A function of the position alone, so that a resumed run, or a second forward pass, draws the same masks."""
    text = f"{seed}/{step}/{micro}/{rank}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


class DropoutReplay(TorchDispatchMode):
    """Around forward passes of one batch from one seed: the first draws the dropout masks, the others get them again.

    Saves time alone. On a CPU torch draws masks in one thread, which takes a third of BERT's forward pass on two cores.
    Where dropout draws in another way (fused, on a GPU) the replay does nothing, and the seed makes the masks equal.
    """

    def __init__(self) -> None:
        super().__init__()
        self._masks: list[torch.Tensor] = []
        self._next, self._recorded = 0, False

    def __enter__(self) -> DropoutReplay:
        self._next, self._recorded = 0, bool(self._masks)
        super().__enter__()
        return self

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every operator comes by; only the drawing of masks is of interest."""
        if func is not torch.ops.aten.bernoulli_.float:
            return func(*args, **(kwargs or {}))
        if self._recorded:
            self._next += 1
            return args[0].copy_(self._masks[self._next - 1])
        drawn = func(*args, **(kwargs or {}))
        self._masks.append(drawn.bool())
        return drawn

"""A meta-teacher's domain head, o = tanh(W (E[d] + m)) and a classifier of domains on it, and its files.

Pan et al., "Meta-KD", ACL 2021, section 3.2: m is the mean of a row's last hidden states, E an embedding of its domain.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from raykd.errors import ModelError, one_line

FOLDER, FORMAT = "domains", 1
"""Beside the checkpoint, not in it: what is in the checkpoint's own folder is part of its fingerprint."""
WEIGHTS, DESCRIPTION = "head.safetensors", "head.json"


class DomainMixer(nn.Module):
    """W (E[d] + m), for rows of known domains; of another one it takes the mean of their embeddings.

    Args:
        domains: their names, in the order of E.
        width: H, of the hidden states.
        seed: of the first values; the global random state is left as it was.
    """

    def __init__(self, domains: Sequence[str], width: int, dtype: torch.dtype, seed: int = 0) -> None:
        super().__init__()
        self.domains, self.width = tuple(domains), width
        self.embedding = nn.Parameter(torch.empty(len(self.domains), width, dtype=dtype))
        self.mix = nn.utils.skip_init(nn.Linear, width, width, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.embedding.normal_(0.0, 0.02, generator=generator)
            self.mix.weight.normal_(0.0, width**-0.5, generator=generator)
            self.mix.bias.zero_()

    def index(self, names: Sequence[str]) -> torch.Tensor:
        """Each name's place among the domains, int64 [B]; −1 of a domain that is not known."""
        known = {name: k for k, name in enumerate(self.domains)}
        return torch.tensor([known.get(name, -1) for name in names], dtype=torch.int64)

    def mixed(self, mean_BH: torch.Tensor, index_B: torch.Tensor) -> torch.Tensor:
        """W (E[d] + m), [B, H], before the tanh: the knowledge that is distilled."""
        index_B = index_B.to(mean_BH.device)
        own_BH = torch.where(
            (index_B >= 0).unsqueeze(-1), self.embedding[index_B.clamp(min=0)], self.embedding.mean(0, keepdim=True)
        )
        out_BH: torch.Tensor = self.mix(own_BH + mean_BH)
        return out_BH


class DomainHead(DomainMixer):
    """With a classifier of the domains on top; arguments as of `DomainMixer`."""

    def __init__(self, domains: Sequence[str], width: int, dtype: torch.dtype, seed: int = 0) -> None:
        super().__init__(domains, width, dtype, seed)
        self.classify = nn.utils.skip_init(nn.Linear, width, len(self.domains), dtype=dtype)
        # From 0: a random classifier's gradient is larger than that of the classes at first, and the model follows it.
        with torch.no_grad():
            self.classify.weight.zero_()
            self.classify.bias.zero_()

    def forward(self, mean_BH: torch.Tensor, index_B: torch.Tensor) -> torch.Tensor:
        """Logits of the domains, [B, D]."""
        logits_BD: torch.Tensor = self.classify(torch.tanh(self.mixed(mean_BH, index_B)))
        return logits_BD

    def save(self, checkpoint: Path, weights: str) -> None:
        """Writes it beside a checkpoint.

        Args:
            weights: fingerprint of the checkpoint that it belongs to.
        """
        folder = checkpoint / FOLDER
        folder.mkdir(exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / WEIGHTS)
        description = {"format": FORMAT, "domains": self.domains, "width": self.width, "weights": weights}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def load_domain_head(checkpoint: Path, weights: str, dtype: torch.dtype) -> DomainHead:
    """The head beside a checkpoint.

    Args:
        weights: fingerprint of the checkpoint.

    Raises:
        ModelError: there is none, it is damaged, or it belongs to another checkpoint.
    """
    where, folder = str(checkpoint), checkpoint / FOLDER
    if not (folder / DESCRIPTION).is_file():
        raise ModelError(where, "has no domain head", "prepare it with `prepare: meta` and a domain_loss")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']}, known is {FORMAT}")
        head = DomainHead([str(name) for name in description["domains"]], int(description["width"]), dtype)
        state, owner = load_file(folder / WEIGHTS), str(description["weights"])
        head.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ArithmeticError, SafetensorError) as error:
        raise ModelError(where, f"its domain head is damaged: {one_line(error, 120)}", "prepare it again") from None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError(where, "its domain head is damaged: it holds numbers that are not finite", "prepare it again")
    if owner != weights:
        raise ModelError(where, "its domain head is of another checkpoint", "prepare it again")
    return head


def other_domains(seed: int, step: int, ids: np.ndarray, own: np.ndarray, domains: int) -> np.ndarray:
    """Of each row a domain that is not its own, drawn evenly from (seed, step, id): the same on any worker, int64 [B].

    Args:
        ids: [B] example ids.
        own: [B] the rows' domains.
    """
    mixed = ids.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1) + 0xD1B54A32D192ED03 * step) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64 (Steele et al. 2014)
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    ahead = (mixed % np.uint64(domains - 1)).astype(np.int64) + 1
    return (own + ahead) % domains

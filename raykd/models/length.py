"""How many tokens a model can take: its table of positions."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from raykd.errors import ModelError


def longest_input(model: PreTrainedModel) -> int | None:
    """Tokens of the longest row that the model has positions for; None where positions are not learnt."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from padding_idx + 1.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    return None


def check_length(model: PreTrainedModel, max_length: int, where: str) -> None:
    """ModelError where rows of `max_length` tokens are longer than the model's positions."""
    longest = longest_input(model)
    if longest is not None and max_length > longest:
        raise ModelError(
            where, f"takes {longest} tokens, max_length is {max_length}", f"set max_length: {longest} or less"
        )

"""Which of a model's parameters learn: all of them, its head, head and last layers, or those that a pattern names."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from raykd.errors import ModelError
from raykd.models.truncate import layer_stack


def trainable_names(model: PreTrainedModel, which: str, where: str) -> list[str]:
    """Names of the parameters that learn, in the model's order.

    Args:
        which: `all`; `head` (what is not the encoder); `last_N` (head and the last N layers); else a regular
            expression that is searched for in the names.

    Raises:
        ModelError: nothing is left that learns, or the model has fewer layers.
    """
    names = [name for name, _ in model.named_parameters()]
    encoder = f"{model.base_model_prefix}."
    head = {name for name in names if not name.startswith(encoder)}
    match which:
        case "all":
            chosen = set(names)
        case "head":
            chosen = head
        case _ if which.startswith("last_") and which.removeprefix("last_").isdigit():
            chosen = head | _last(model, names, int(which.removeprefix("last_")), where)
        case _:
            chosen = {name for name in names if re.search(which, name)}
    if not chosen:
        example = ", ".join(names[-2:])
        raise ModelError(where, f"trainable {which!r} fits none of its parameters", f"its last ones are {example}")
    return [name for name in names if name in chosen]


def _last(model: PreTrainedModel, names: list[str], count: int, where: str) -> set[str]:
    depth: int = model.config.num_hidden_layers
    if count > depth:
        raise ModelError(where, f"has {depth} layers, the last {count} cannot learn", f"set last_{depth} or all")
    prefixes = tuple(f"{layer_stack(model, depth, where)}.{k}." for k in range(depth - count, depth))
    return {name for name in names if name.startswith(prefixes)}


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Gives a gradient to these parameters alone."""
    chosen = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)

"""Truncation of a checkpoint: the same model with some of its transformer layers (DistilBERT, Sanh et al. 2019, §3)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from raykd.errors import ModelError
from raykd.models.hub_errors import reading


def which_layers(layers: int | Sequence[int], depth: int, where: str) -> list[int]:
    """The layers to keep: n evenly spread ones, first and last among them, or those that are named.

    Raises:
        ModelError: more than there are, one that is not there, or not in rising order.
    """
    if isinstance(layers, int):
        if layers > depth:
            raise ModelError(where, f"has {depth} layers, {layers} cannot be kept", f"set layers to {depth} or less")
        return [round(k * (depth - 1) / max(layers - 1, 1)) for k in range(layers)]
    kept = list(layers)
    if max(kept) >= depth:
        raise ModelError(where, f"has no layer {max(kept)}", f"its layers are 0 to {depth - 1}")
    if kept != sorted(set(kept)):
        raise ModelError(where, f"cannot keep layers {kept}", "name each once, in rising order")
    return kept


def truncate(model: PreTrainedModel, layers: int | Sequence[int], where: str) -> PreTrainedModel:
    """A model of the same architecture that holds copies of the kept layers' weights and of all that is no layer.

    Raises:
        ModelError: as `which_layers`, or the architecture shares weights between its layers.
    """
    depth: int = model.config.num_hidden_layers
    kept = which_layers(layers, depth, where)
    if kept == list(range(depth)):
        return model
    prefix = f"{layer_stack(model, depth, where)}."
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    state = {_renamed(key, prefix, kept): value for key, value in model.state_dict().items()}
    state.pop("", None)
    with reading(where, f"truncation to layers {kept}"):
        loaded: Any = type(model).from_pretrained(
            None, config=config, state_dict=state, dtype=model.dtype, output_loading_info=True
        )
    small, info = loaded
    odd = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    if odd:
        raise ModelError(where, f"its layers are not alike: {odd[0]} does not fit layers {kept}", "keep all its layers")
    return cast(PreTrainedModel, small.eval())


def layer_stack(model: PreTrainedModel, depth: int, where: str) -> str:
    """The name of the one list of modules that is as long as the model is deep."""
    stacks = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if len(stacks) != 1:
        raise ModelError(
            where, f"a {model.config.model_type} shares weights between layers or hides them", "it cannot be truncated"
        )
    return stacks[0]


def _renamed(key: str, prefix: str, kept: Sequence[int]) -> str:
    """A weight's name in the truncated model; empty where its layer is dropped."""
    if not key.startswith(prefix):
        return key
    layer, _, rest = key.removeprefix(prefix).partition(".")
    return f"{prefix}{kept.index(int(layer))}.{rest}" if int(layer) in kept else ""

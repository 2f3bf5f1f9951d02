"""A forward pass that also gives inner outputs: hidden states, attention scores before the softmax, queries, keys.

Hugging Face returns attention after the softmax and no query, key or value. So an attention function of ours is
registered with transformers: it hands the work on to SDPA and notes what it was called with. A layer is known by its
number, or by the order of the calls where it has none: DistilBERT's do not know it, ALBERT's are one module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from raykd.columns import Column
from raykd.errors import ModelError
from raykd.models import forward

NAME = "raykd_capture"
"""Of the attention function, while a forward pass is captured."""


@dataclass
class _Notes:
    """What the attention of the pass under way is called with; layers are counted from 1.

    Attributes:
        layers: those to keep.
        calls: how many there were.
        kept: layer → query, key, value [B, heads, L, d] and the factor of the scores.
    """

    layers: frozenset[int]
    calls: int = 0
    kept: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]] = field(default_factory=dict)


_notes: ContextVar[_Notes | None] = ContextVar("notes", default=None)


def capture(
    model: nn.Module, encoded: Mapping[str, torch.Tensor], columns: Sequence[Column]
) -> tuple[torch.Tensor, dict[Column, torch.Tensor]]:
    """logits_BC of a batch and, of each column, a tensor with the rows as first axis, padded as the batch is.

    Dropout draws what it draws in a plain forward pass from the same seed.

    Raises:
        ModelError: the model has no such layer, its attention cannot be read, or a tensor has another shape than its
            configuration says.
    """
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    attentive = frozenset(column.layer for column in columns if column.kind in ("scores", "query", "key", "value"))
    notes = _Notes(attentive)
    with _noting(inner, notes) if attentive else contextlib.nullcontext():
        out = model(**forward.inputs(model, encoded), output_hidden_states=True)
    (rows, tokens), (_, width, heads) = encoded["attention_mask"].shape, capture_shape(inner.config)
    captured: dict[Column, torch.Tensor] = {}
    for column in columns:
        if column.kind in ("hidden", "first"):
            hidden_BLH = _hidden(inner, out, column)
            tensor = hidden_BLH if column.kind == "hidden" else _first(hidden_BLH, encoded)
        else:
            tensor = _attention(inner, notes, column)
        wanted = (rows, *column.shape(tokens, width, heads))
        if tensor.shape != wanted:
            what = f"{column.name} of a {inner.config.model_type} is {list(tensor.shape)}, expected {list(wanted)}"
            raise ModelError("features", what, "leave the terms out that compare it")
        captured[column] = tensor
    logits_BC: torch.Tensor = out.logits
    return logits_BC, captured


def capture_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Layers, width and attention heads of a model.

    Raises:
        ModelError: its configuration does not say.
    """
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    values = [getattr(config, name, None) for name in names]
    if not all(isinstance(value, int) for value in values):
        missing = ", ".join(name for name, value in zip(names, values, strict=True) if not isinstance(value, int))
        raise ModelError(config.model_type, f"its config.json has no {missing}", "its features cannot be matched")
    layers, width, heads = (int(value) for value in values if value is not None)
    return layers, width, heads


def _hidden(model: Any, out: Any, column: Column) -> torch.Tensor:
    states = out.get("hidden_states")
    if states is None:
        raise ModelError("features", f"a {model.config.model_type} does not give its hidden states")
    if column.layer >= len(states):
        what = f"a {model.config.model_type} of {len(states) - 1} layers has no layer {column.layer}"
        raise ModelError("features", what)
    hidden_BLH: torch.Tensor = states[column.layer]
    return hidden_BLH


def _first(hidden_BLH: torch.Tensor, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The hidden state of the first token that is no padding, [B, H]: a tokenizer may pad on the left."""
    first_B = encoded["attention_mask"].argmax(dim=1)
    return hidden_BLH[torch.arange(len(first_B), device=first_B.device), first_B]


def _attention(model: Any, notes: _Notes, column: Column) -> torch.Tensor:
    if column.kind == "domain":
        raise ValueError(f"{column.name} is no inner output of a transformer")
    # One call a layer, or the calls are not those of one stack of layers.
    if column.layer not in notes.kept or notes.calls != capture_shape(model.config)[0]:
        what = f"the attention of layer {column.layer} of a {model.config.model_type} cannot be read"
        raise ModelError("features", what, "leave attention and minilm out")
    query, key, value, scaling = notes.kept[column.layer]
    if column.kind == "scores":
        return _scores(query, key, scaling, column.mean_heads)
    vectors = {"query": query, "key": key, "value": value}[column.kind]
    return vectors.transpose(1, 2).flatten(2)


def _scores(query: torch.Tensor, key: torch.Tensor, scaling: float, mean_heads: bool) -> torch.Tensor:
    """query · key · factor, [B, heads, L, L]; their mean over the heads is one product of all of them, [B, 1, L, L]."""
    if not mean_heads:
        return (query * scaling) @ key.transpose(-1, -2)
    heads = query.shape[1]
    flat_query, flat_key = (part.transpose(1, 2).flatten(2) for part in (query, key))
    return ((flat_query * (scaling / heads)) @ flat_key.transpose(-1, -2)).unsqueeze(1)


@contextlib.contextmanager
def _noting(model: Any, notes: _Notes) -> Iterator[None]:
    """Calls the model's attention through ours, and notes its arguments; puts the model's own back."""
    token, before = _notes.set(notes), model.config._attn_implementation
    try:
        _set_attention(model, NAME)
        yield
    finally:
        _set_attention(model, before)
        _notes.reset(token)


def _set_attention(model: Any, name: str) -> None:
    # Not `set_attn_implementation`: it looks for kernels and logs, at every step. Parts share one configuration.
    for config in {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values():
        config._attn_implementation = name


def _noted_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """SDPA, as transformers calls it; what it is called with is noted under the layer's number.

    Not noted, hence refused: fewer keys than queries, and scores that a position's bias is added to.
    """
    notes = _notes.get()
    if notes is not None:
        index = getattr(module, "layer_idx", None)
        layer = notes.calls + 1 if index is None else index + 1
        notes.calls += 1
        if layer in notes.layers and query.shape == key.shape and kwargs.get("position_bias") is None:
            notes.kept[layer] = (query, key, value, scaling if scaling is not None else query.shape[-1] ** -0.5)
    attend: Callable[..., tuple[torch.Tensor, None]] = sdpa_attention_forward
    return attend(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


AttentionInterface.register(NAME, _noted_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

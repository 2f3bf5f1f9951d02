"""A forward pass that also gives inner outputs: hidden states, attention scores before the softmax, queries, keys.

Hugging Face returns attention after the softmax and no query, key or value. So an attention function of ours is
registered with transformers: it hands the work on to SDPA and notes what it was called with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from raykd.errors import ModelError
from raykd.models import forward
from raykd.models.columns import Column

NAME = "raykd_capture"
"""Of the attention function, while a forward pass is captured."""
_notes: ContextVar[dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]] | None] = ContextVar(
    "notes", default=None
)
"""Of the pass under way: layer, counted from 1 → query, key, value [B, heads, L, d] and the factor of the scores."""


def capture(
    model: nn.Module, encoded: Mapping[str, torch.Tensor], columns: Sequence[Column]
) -> tuple[torch.Tensor, dict[Column, torch.Tensor]]:
    """logits_BC of a batch and, of each column, a tensor with the rows as first axis, padded as the batch is.

    Dropout draws what it draws in a plain forward pass from the same seed.

    Raises:
        ModelError: the model has no such layer, or its attention cannot be read.
    """
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    attentive = [column for column in columns if column.kind in ("scores", "query", "key", "value")]
    noting: contextlib.AbstractContextManager[dict[int, Any]] = contextlib.nullcontext({})
    if attentive:
        noting = _noting(inner)
    with noting as notes:
        out = model(**forward.inputs(model, encoded), output_hidden_states=True)
    captured: dict[Column, torch.Tensor] = {}
    for column in columns:
        if column.kind in ("hidden", "first"):
            hidden_BLH = _hidden(inner, out, column)
            captured[column] = hidden_BLH if column.kind == "hidden" else _first(hidden_BLH, encoded)
        else:
            captured[column] = _attention(inner, notes, column)
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
    states = out.hidden_states
    if states is None or column.layer >= len(states):
        known = 0 if states is None else len(states) - 1
        raise ModelError(model.config.model_type, f"has {known} layers of hidden states, asked was {column.layer}")
    hidden_BLH: torch.Tensor = states[column.layer]
    return hidden_BLH


def _first(hidden_BLH: torch.Tensor, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The hidden state of the first token that is no padding, [B, H]: a tokenizer may pad on the left."""
    first_B = encoded["attention_mask"].argmax(dim=1)
    return hidden_BLH[torch.arange(len(first_B), device=first_B.device), first_B]


def _attention(model: Any, notes: Mapping[int, Any], column: Column) -> torch.Tensor:
    if column.kind == "domain":
        raise ValueError(f"{column.name} is no inner output of a transformer")
    if column.layer not in notes:
        what = f"the attention of layer {column.layer} of a {model.config.model_type} cannot be read"
        raise ModelError("features", what, "leave attention and minilm out")
    query, key, value, scaling = notes[column.layer]
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
def _noting(model: Any) -> Iterator[dict[int, Any]]:
    """Calls the model's attention through ours, and notes its arguments; puts the model's own back."""
    notes: dict[int, Any] = {}
    token, before = _notes.set(notes), model.config._attn_implementation
    try:
        _set_attention(model, NAME)
        yield notes
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
    """SDPA, as transformers calls it; what it is called with is noted under the layer's number."""
    notes, layer = _notes.get(), getattr(module, "layer_idx", None)
    if notes is not None and layer is not None and query.shape == key.shape:
        notes[layer + 1] = (query, key, value, scaling if scaling is not None else query.shape[-1] ** -0.5)
    attend: Callable[..., tuple[torch.Tensor, None]] = sdpa_attention_forward
    return attend(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


AttentionInterface.register(NAME, _noted_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

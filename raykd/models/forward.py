"""The forward pass: an encoded batch to logits, and the choice of device and precision with its reason."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from raykd.errors import RunError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}

AUTOCAST = (torch.bfloat16, torch.float16)
"""Precisions that a forward pass is cast to while the weights stay float32."""


def logits(model: nn.Module, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """logits_BC of a batch; `model` may be wrapped for data-parallel training."""
    logits_BC: torch.Tensor = model(**inputs(model, encoded)).logits
    return logits_BC


def predicted(model: nn.Module, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """logits_BC of the model as it is used, in the midst of its training: dropout off, no graph."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return logits(model, encoded)
    finally:
        model.train(training)


def pooled(model: PreTrainedModel, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The mean of the last hidden states over a row's tokens, padding left out, [B, H]."""
    encoder = model.base_model
    return masked_mean(encoder(**inputs(encoder, encoded)).last_hidden_state, encoded["attention_mask"])


def masked_mean(hidden_BLH: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """The mean over a row's tokens, padding left out, [B, H]."""
    mask_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLH.dtype)
    return (hidden_BLH * mask_BL1).sum(1) / mask_BL1.sum(1)


def logits_at(
    model: nn.Module, parameters: Mapping[str, torch.Tensor], encoded: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """logits_BC at other parameters (by name) than the model's own, of which nothing changes, buffers included."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    out: Any = functional_call(model, {**buffers, **parameters}, (), inputs(model, encoded))
    logits_BC: torch.Tensor = out.logits
    return logits_BC


def inputs(model: nn.Module, encoded: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of an encoded batch the model takes.

    Token types are left out for models that have none (DistilBERT) or one (RoBERTa), whatever the tokenizer makes.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    names = _inputs(type(inner).forward)
    taken = {name: tensor for name, tensor in encoded.items() if name in names}
    if isinstance(inner, PreTrainedModel) and vars(inner.config).get("type_vocab_size", 2) < 2:
        taken.pop("token_type_ids", None)
    return taken


@cache
def _inputs(forward: Callable[..., object]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


def choose_device(gpus: float) -> tuple[torch.device, str]:
    """The device of a role that was given `gpus` GPUs (a fraction shares one), and why.

    Raises:
        RunError: it was given a GPU and torch has none.
    """
    if gpus <= 0:
        return torch.device("cpu"), "no GPU asked for"
    if not torch.cuda.is_available():
        raise RunError("device", f"{gpus:g} GPUs asked for, torch sees none", "install torch for CUDA, or ask for 0")
    return torch.device("cuda", 0), f"{gpus:g} of {torch.cuda.get_device_name(0)} asked for"


def choose_dtype(precision: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype of a forward pass (of weights, or of autocast where weights stay float32), and why."""
    if precision != "auto":
        return DTYPES[precision], f"{precision} asked for"
    if device.type != "cuda":
        return torch.float32, f"auto on {device.type}"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "auto: the GPU has bfloat16"
    return torch.float32, "auto: the GPU has no bfloat16"


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Around a forward pass that is to run in this precision."""
    return torch.autocast(device.type, dtype) if dtype in AUTOCAST else contextlib.nullcontext()


def freeze_embeddings(model: PreTrainedModel) -> None:
    """Keeps the input word embeddings as they are: their dense gradient costs more than two layers on a CPU."""
    model.get_input_embeddings().requires_grad_(False)

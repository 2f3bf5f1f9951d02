"""A checkpoint in another format, checked against the original before it is trusted."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd.errors import ConfigError, ModelError
from raykd.models.checkpoint import load
from raykd.models.forward import inputs

log = logging.getLogger(__name__)
TOLERANCE = 1e-4
"""Largest difference of a float32 logit, relative to the largest one where that is above 1."""
SHAPES = ((1, 5), (3, 12), (8, 24))
"""Rows and tokens of the batches that are compared; the graph is traced with another one."""
OPSET = 18


class _Logits(torch.nn.Module):
    """The model as a graph takes it: tensors in their order in, logits out."""

    def __init__(self, model: PreTrainedModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(**dict(zip(self.names, tensors, strict=True))).logits
        return out


def to_onnx(checkpoint: Path, target: Path) -> dict[str, Any]:
    """Writes `target`/model.onnx and the tokenizer, and compares its logits with the checkpoint's.

    Batch and length are dynamic; the inputs are those that the tokenizer makes and the model takes.

    Returns:
        path, inputs, difference: the largest of a logit.

    Raises:
        ConfigError: the extra `onnx` is not installed.
        ModelError: the checkpoint cannot be read, or the graph answers otherwise; it is removed then.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError:
        raise ConfigError("export", "onnx is not installed", "pip install 'raykd[onnx]'") from None
    model, tokenizer = load(checkpoint)
    rows = _batch(model, (2, 7), 0)
    names = list(rows)
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=_longest(model))}
    target.mkdir(parents=True, exist_ok=True)
    path = target / "model.onnx"
    with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its steps
        torch.onnx.export(
            _Logits(model, names).eval(), tuple(rows.values()), str(path), dynamo=True, opset_version=OPSET,
            input_names=names, output_names=["logits"], dynamic_shapes=(tuple(dynamic for _ in names),),
            external_data=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = max(_difference(model, session, shape, seed) for seed, shape in enumerate(SHAPES, start=1))
    if difference > TOLERANCE:
        path.unlink()
        raise ModelError(str(checkpoint), f"the ONNX graph's logits differ by {difference:.1e}", "it was not kept")
    tokenizer.save_pretrained(target)
    log.info("%s: logits agree to %.1e over %d shapes", path, difference, len(SHAPES))
    return {"path": str(path), "inputs": names, "difference": difference}


def _batch(model: PreTrainedModel, shape: tuple[int, int], seed: int) -> dict[str, torch.Tensor]:
    """Rows of random tokens, each padded to another length."""
    rng = np.random.default_rng(seed)
    rows, tokens = shape
    lengths = rng.integers(2, tokens + 1, size=rows)
    mask = torch.from_numpy((np.arange(tokens)[None] < lengths[:, None]).astype(np.int64))
    ids = torch.from_numpy(rng.integers(5, int(model.config.vocab_size), size=shape)) * mask
    return inputs(model, {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)})


def _longest(model: PreTrainedModel) -> int:
    return int(getattr(model.config, "max_position_embeddings", None) or 512)


def _difference(model: PreTrainedModel, session: Any, shape: tuple[int, int], seed: int) -> float:
    rows = _batch(model, (shape[0], min(shape[1], _longest(model))), seed)
    with torch.inference_mode():
        wanted = model(**rows).logits.numpy()
    (got,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in rows.items()})
    return float(np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max())))

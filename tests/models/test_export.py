"""A checkpoint as an ONNX graph: the same logits at other batch sizes and lengths than it was traced with."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from raykd import models
from raykd.errors import ConfigError
from raykd.models import export


@pytest.mark.slow
def test_onnx_answers_as_the_checkpoint(student: Path, tmp_path: Path) -> None:
    runtime = importlib.import_module("onnxruntime")
    said = export.to_onnx(student, tmp_path / "onnx")
    assert said["difference"] <= export.TOLERANCE
    model, tokenizer = models.load(student)
    rows = tokenizer(["word3 is bad", "word1 is good and word9 is bad"], padding=True, return_tensors="pt")
    rows = {name: rows[name] for name in said["inputs"]}
    with torch.inference_mode():
        wanted = model(**rows).logits.numpy()
    session = runtime.InferenceSession(said["path"], providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {name: tensor.numpy() for name, tensor in rows.items()})
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert (tmp_path / "onnx" / "tokenizer_config.json").exists()


@pytest.mark.slow
def test_another_graph_is_not_kept(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(Exception, match="the ONNX graph's logits differ"):
        export.to_onnx(student, tmp_path / "onnx")
    assert not (tmp_path / "onnx" / "model.onnx").exists()


def test_an_unknown_format_is_named(student: Path) -> None:
    from raykd import api

    with pytest.raises(ConfigError, match="no format 'tflite'"):
        api.export(student, "tflite")

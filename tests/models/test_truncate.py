"""Truncation: the kept layers, run by hand, give the truncated model's logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.errors import ModelError
from raykd.models import build, load, logits, save
from raykd.models.truncate import which_layers

Checkpoint = Callable[..., Path]


def build_with(folder: Path, layers: int | list[int], task: Task) -> Any:
    return build(ModelConfig.model_validate({"from": str(folder), "layers": layers}), task, None, 0, 32)[0]


def by_hand(kind: str, model: Any, input_ids: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """Embeddings, the kept layers of the whole model, and the head, without the model's own forward pass."""
    encoder = model.base_model
    hidden_BLH = encoder.embeddings(input_ids)
    if kind == "electra":
        hidden_BLH = encoder.embeddings_project(hidden_BLH)
    layers = encoder.transformer.layer if kind == "distilbert" else encoder.encoder.layer
    for k in kept:
        out = layers[k](hidden_BLH, None)
        hidden_BLH = out[0] if isinstance(out, tuple) else out
    match kind:
        case "bert":
            return model.classifier(encoder.pooler(hidden_BLH))
        case "distilbert":
            return model.classifier(torch.relu(model.pre_classifier(hidden_BLH[:, 0])))
        case _:
            return model.classifier(hidden_BLH)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra"])
def test_a_truncation_is_the_kept_layers(
    kind: str, task: Task, checkpoint: Checkpoint, tmp_path: Path, texts: list[str]
) -> None:
    folder = checkpoint(kind)
    whole, tokenizer = load(folder)
    encoded = tokenizer(texts[:4], truncation=True, max_length=8, return_tensors="pt")
    for layers, kept in ((2, [0, 5]), (1, [0]), ([1, 2, 4], [1, 2, 4])):
        small = build_with(folder, layers, task)
        assert small.config.num_hidden_layers == len(kept)
        with torch.no_grad():
            expected_BC = by_hand(kind, whole, encoded["input_ids"], kept)
            torch.testing.assert_close(logits(small, encoded), expected_BC, rtol=1e-5, atol=1e-6)
            assert not torch.allclose(expected_BC, logits(whole, encoded), atol=1e-2)
    save(small, tokenizer, tmp_path / "small")
    assert torch.equal(logits(load(tmp_path / "small")[0], encoded), logits(small, encoded))


def test_a_truncation_owns_its_weights_and_keeps_the_trained_head(task: Task, checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    small = build_with(folder, [1], task)
    assert torch.equal(small.get_parameter("classifier.weight"), load(folder)[0].get_parameter("classifier.weight"))
    assert all(parameter.requires_grad for parameter in small.parameters())
    assert len({parameter.data_ptr() for parameter in small.parameters()}) == len(list(small.parameters()))


def test_all_layers_are_the_checkpoint(task: Task, checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    row = {"input_ids": torch.arange(5, 15)[None]}
    assert torch.equal(logits(build_with(folder, 6, task), row), logits(load(folder)[0], row))


def test_albert_shares_its_layers_and_is_refused(task: Task, checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="albert shares weights between layers"):
        build_with(checkpoint("albert"), 2, task)
    with pytest.raises(ModelError, match="layers"):
        build_with(checkpoint("albert", num_hidden_groups=6), 2, task)


@pytest.mark.parametrize(
    ("layers", "said"),
    [(7, "has 6 layers, 7"), ([0, 6], "no layer 6"), ([2, 0], "rising order"), ([1, 1], "rising order")],
)
def test_layers_that_are_not_there_are_refused(
    layers: int | list[int], said: str, task: Task, checkpoint: Checkpoint
) -> None:
    with pytest.raises(ModelError, match=said):
        build_with(checkpoint(), layers, task)


def test_layers_are_spread_evenly() -> None:
    for depth in range(1, 25):
        for keep in range(1, depth + 1):
            kept = which_layers(keep, depth, "here")
            assert kept == sorted(set(kept))
            assert len(kept) == keep
            assert kept[0] == 0
            if keep > 1:
                gaps = [b - a for a, b in itertools.pairwise(kept)]
                assert kept[-1] == depth - 1
                assert max(gaps) - min(gaps) <= 1
    assert which_layers(3, 6, "here") == [0, 2, 5]

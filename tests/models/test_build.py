"""Building a classifier: fresh or from a checkpoint, seeded, quiet, and float32."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.errors import ModelError
from raykd.models import (
    build,
    freeze_embeddings,
    load,
    logits,
    longest_input,
    model_labels,
    save,
    tokenizer_fingerprint,
)

Checkpoint = Callable[..., Path]
HEAD, POOLER = "classifier.weight", "bert.pooler.dense.weight"
KINDS = ["bert", "distilbert", "roberta", "electra", "albert"]

THREE = Task("classification", "accuracy", ("low", "mid", "high"))
SHAPE = {"layers": 2, "hidden_size": 16, "heads": 2, "vocab_size": 120}


def spec(value: object) -> ModelConfig:
    return ModelConfig.model_validate(str(value) if isinstance(value, Path) else value)


def equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_fresh_model_has_the_shape_and_the_task(task: Task, texts: list[str]) -> None:
    model, tokenizer = build(spec({**SHAPE, "intermediate_size": 20}), task, texts, 0, 48)
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (2, 16, 2)
    assert (config.intermediate_size, config.vocab_size, longest_input(model)) == (20, len(tokenizer), 48)
    assert model_labels(config) == ["negative", "positive"]
    assert config.label2id == {"negative": 0, "positive": 1}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    assert build(spec(SHAPE), task, texts, 0, 48)[0].config.intermediate_size == 64


def test_a_fresh_model_needs_texts_or_a_tokenizer(task: Task, checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="trained on texts"):
        build(spec(SHAPE), task, None, 0, 32)
    folder = checkpoint()
    _, tokenizer = build(spec({**SHAPE, "tokenizer": str(folder)}), task, None, 0, 32)
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(folder)


def test_new_weights_come_from_the_seed_and_leave_the_global_state(
    task: Task, checkpoint: Checkpoint, texts: list[str]
) -> None:
    folder = checkpoint(num_labels=3)
    for section in (spec(SHAPE), spec(folder), spec({"from": str(folder), "layers": 2})):
        torch.manual_seed(1)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].copy()
        first, _ = build(section, task, texts, 5, 32)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[2])
        torch.manual_seed(2)
        assert equal(first, build(section, task, texts, 5, 32)[0])
        other, _ = build(section, task, texts, 6, 32)
        assert not torch.equal(first.get_parameter(HEAD), other.get_parameter(HEAD))


def test_a_head_of_another_size_is_new_and_a_fitting_one_is_kept(
    task: Task, checkpoint: Checkpoint, texts: list[str]
) -> None:
    folder = checkpoint()
    trained, _ = load(folder)
    kept, _ = build(spec(folder), task, None, 0, 32)
    assert equal(kept, trained)
    assert model_labels(kept.config) == ["negative", "positive"]
    new, tokenizer = build(spec(folder), THREE, None, 0, 32)
    assert torch.equal(new.get_parameter(POOLER), trained.get_parameter(POOLER))
    assert logits(new, tokenizer(texts[:2], return_tensors="pt", padding=True)).shape == (2, 3)
    assert new.get_parameter(HEAD).abs().max() < 0.2, "drawn as BERT draws it, with deviation 0.02"


def test_a_regression_has_one_column(checkpoint: Checkpoint, texts: list[str]) -> None:
    for section in (spec(SHAPE), spec(checkpoint())):
        model, tokenizer = build(section, Task("regression", "pearson"), texts, 0, 32)
        assert model.config.problem_type == "regression"
        assert logits(model, tokenizer(texts[0], return_tensors="pt")).shape == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_sets_every_dropout(kind: str, task: Task, checkpoint: Checkpoint) -> None:
    # ALBERT and ELECTRA have a classifier or summary dropout of their own; 0 has to mean none at all.
    model, _ = build(spec({"from": str(checkpoint(kind)), "dropout": 0.0}), task, None, 0, 32)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.0}
    model.train()
    row = {"input_ids": torch.arange(5, 15)[None], "attention_mask": torch.ones(1, 10, dtype=torch.int64)}
    assert torch.equal(logits(model, row), logits(model, row))


def test_half_precision_becomes_float32(task: Task, checkpoint: Checkpoint) -> None:
    folder = checkpoint(dtype=torch.float16)
    for model in (build(spec(folder), task, None, 0, 32)[0], load(folder)[0]):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert load(folder, torch.float64)[0].dtype == torch.float64
    assert load(folder, torch.bfloat16)[0].dtype == torch.bfloat16


def test_building_and_saving_are_quiet(
    task: Task,
    checkpoint: Checkpoint,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = checkpoint(num_labels=4)
    capfd.readouterr()
    with caplog.at_level(logging.INFO, "raykd"):
        model, tokenizer = build(spec({"from": str(folder), "layers": 2}), task, None, 0, 32)
        save(model, tokenizer, tmp_path / "saved")
        load(tmp_path / "saved")
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("raykd")] == [
        f"{folder}: new weights for classifier.bias, classifier.weight"
    ]
    assert logging.getLogger("transformers").level < logging.ERROR


@pytest.mark.parametrize(("kind", "longest"), [("bert", 40), ("distilbert", 40), ("roberta", 39), ("electra", 40)])
def test_rows_longer_than_the_positions_are_refused(
    kind: str, longest: int, task: Task, checkpoint: Checkpoint
) -> None:
    folder = checkpoint(kind)
    model, _ = build(spec(folder), task, None, 0, longest)
    rows = {"input_ids": torch.full((1, longest), 9), "attention_mask": torch.ones(1, longest, dtype=torch.int64)}
    assert logits(model, rows).isfinite().all()
    with pytest.raises(ModelError, match=f"takes {longest} tokens"):
        build(spec(folder), task, None, 0, longest + 1)


def test_frozen_embeddings_get_no_gradient(task: Task, texts: list[str]) -> None:
    model, tokenizer = build(spec(SHAPE), task, texts, 0, 32)
    freeze_embeddings(model)
    logits(model, tokenizer(texts[:3], return_tensors="pt", padding=True)).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["bert.embeddings.word_embeddings.weight"]

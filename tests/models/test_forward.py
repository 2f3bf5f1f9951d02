"""The forward pass, and the reasons of automatic choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from raykd.errors import RunError
from raykd.models import choose_device, choose_dtype, load, logits

Checkpoint = Callable[..., Path]
KINDS = ["bert", "distilbert", "roberta", "electra", "albert"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_takes_pairs_with_token_types(kind: str, checkpoint: Checkpoint, texts: list[str]) -> None:
    model, tokenizer = load(checkpoint(kind))
    encoded = tokenizer(texts[:3], texts[1:4], padding=True, return_tensors="pt")
    assert encoded["token_type_ids"].any()
    answer_BC = logits(model, encoded)
    assert answer_BC.shape == (3, 2)
    plain_BC = logits(model, {**encoded, "token_type_ids": torch.zeros_like(encoded["input_ids"])})
    assert torch.equal(answer_BC, plain_BC) == (kind in ("distilbert", "roberta")), "types count where a model has them"


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, checkpoint: Checkpoint, texts: list[str]) -> None:
    model, tokenizer = load(checkpoint(kind), torch.float64)
    together = logits(model, tokenizer([texts[0], "good"], padding=True, return_tensors="pt"))
    alone = logits(model, tokenizer("good", return_tensors="pt"))
    torch.testing.assert_close(together[1:], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("process_group")
def test_a_data_parallel_model_answers_alike(checkpoint: Checkpoint, texts: list[str]) -> None:
    model, tokenizer = load(checkpoint("roberta"))
    encoded = tokenizer(texts[0], texts[1], return_tensors="pt")
    assert torch.equal(logits(DistributedDataParallel(model), encoded), logits(model, encoded))


def test_choices_come_with_their_reason() -> None:
    device, reason = choose_device(0)
    assert (device.type, reason) == ("cpu", "no GPU asked for")
    assert choose_dtype("auto", device) == (torch.float32, "auto on cpu")
    assert choose_dtype("float64", device) == (torch.float64, "float64 asked for")
    assert choose_dtype("bfloat16", device)[0] == torch.bfloat16


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="torch sees none"):
        choose_device(0.25)

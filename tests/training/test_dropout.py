"""Masks that are drawn once are those that the seed gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import BertConfig, BertForSequenceClassification

from raykd.training.dropout import DropoutReplay


def bert() -> BertForSequenceClassification:
    torch.manual_seed(3)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
    return BertForSequenceClassification(BertConfig(vocab_size=40, **shape)).train()


def test_a_tape_gives_the_seeds_masks_to_every_pass_and_leaves_nothing_behind() -> None:
    model, ids, tape = bert(), torch.randint(1, 40, (5, 9)), DropoutReplay()

    def passed() -> torch.Tensor:
        torch.manual_seed(11)
        return model(input_ids=ids).logits

    plain = passed()
    wanted = torch.autograd.grad(plain.sum(), model.classifier.weight)[0]
    for seed in (11, 12):  # the second pass plays: its seed does not matter
        torch.manual_seed(seed)
        with tape:
            logits = model(input_ids=ids).logits
        assert torch.equal(logits, plain)
        assert torch.equal(torch.autograd.grad(logits.sum(), model.classifier.weight)[0], wanted)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), tape:
        torch.testing.assert_close(model(input_ids=ids).logits, plain)
    torch.manual_seed(12)
    assert not torch.equal(model(input_ids=ids).logits, plain)
    assert torch.equal(passed(), plain)


def test_a_tape_is_of_one_batch() -> None:
    model, tape = bert(), DropoutReplay()
    with tape:
        model(input_ids=torch.randint(1, 40, (5, 9)))
    with tape, pytest.raises(RuntimeError, match="size"):
        model(input_ids=torch.randint(1, 40, (4, 7)))

"""The encoder's tensors are those of the tokenizer's own padding, and no row is tokenised twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from corpus_files import Load, Write
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from raykd.data.encoding import Encoder
from raykd.data.rows import Rows

TEXTS = ["a b c", "b", "a b c d e f g h a b c d", "c c c c", "unheard of", "d e"]
PAIRS = ["d", "a b c d e f g h a b c d", "e e e", "f", "g h", "a b c d e f g h"]


def tokenizer(**keys: Any) -> PreTrainedTokenizerBase:
    words = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names, **keys)


@pytest.fixture(params=["single", "pair"])
def rows(request: pytest.FixtureRequest, write: Write, load_written: Load) -> Rows:
    columns: dict[str, list[Any]] = {"text": TEXTS, "label": [0, 1] * 3}
    if request.param == "pair":
        columns["text_pair"] = PAIRS
    write("train.parquet", columns)
    write("validation.parquet", columns)
    return load_written().rows("train")


@pytest.mark.parametrize(
    "keys",
    [
        {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]},
        {"model_input_names": ["input_ids", "attention_mask"]},
        {
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "padding_side": "left",
            "pad_token_type_id": 3,
        },
    ],
)
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [4, 1], [2], [1, 1, 0]])
def test_same_as_the_tokenizers_own(rows: Rows, keys: dict[str, Any], ids: list[int]) -> None:
    encoder = Encoder(tokenizer(**keys), rows, max_length=9)
    encoder.encode(np.array([1, 3]))  # some are remembered, some new
    got = encoder.encode(np.array(ids))
    pairs = [PAIRS[i] for i in ids] if rows.pairs(np.array(ids)) else None
    own = tokenizer(**keys)(
        [TEXTS[i] for i in ids], pairs, truncation=True, max_length=9, padding=True, return_tensors="pt"
    )
    assert set(got) == set(keys["model_input_names"])
    for name, tensor in got.items():
        assert tensor.dtype == torch.int64
        assert torch.equal(tensor, own[name]), name
    assert np.array_equal(encoder.lengths(np.array(ids)), own["attention_mask"].sum(1).numpy())


def test_rows_are_tokenised_once(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tokenizer(), rows, max_length=9)
    first = encoder.encode(np.arange(6))

    def never(_: np.ndarray) -> list[str]:
        raise AssertionError("read again")

    monkeypatch.setattr(rows, "texts", never)
    again = encoder.encode(np.arange(6))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_share_without_rows(rows: Rows) -> None:
    encoded = Encoder(tokenizer(), rows, max_length=9).encode(np.array([], dtype=np.int64))
    assert {tuple(tensor.shape) for tensor in encoded.values()} == {(0, 0)}

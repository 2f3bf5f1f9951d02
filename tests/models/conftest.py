"""Tiny random checkpoints of five architectures, saved as a person would find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from raykd import models
from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.models.tokenizers import train_tokenizer

TEXTS = [
    "the kettle boils fast and looks good",
    "not a good kettle, it leaks and it is slow",
    "everyone said the book was dull but I found it good",
    "the book is not dull at all, it is fast and good",
] * 5

SMALL = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 24}
LONG = {"max_position_embeddings": 40, "pad_token_id": 0}
SHAPES: dict[str, Callable[..., PreTrainedConfig]] = {
    "bert": lambda **more: BertConfig(**{**SMALL, **LONG, **more}),
    "distilbert": lambda **more: DistilBertConfig(
        **{"dim": 16, "n_layers": 6, "n_heads": 2, "hidden_dim": 24, **LONG, **more}
    ),
    "roberta": lambda **more: RobertaConfig(**{**SMALL, **LONG, "type_vocab_size": 1, **more}),
    "electra": lambda **more: ElectraConfig(**{**SMALL, **LONG, "embedding_size": 8, **more}),
    "albert": lambda **more: AlbertConfig(**{**SMALL, **LONG, "embedding_size": 8, **more}),
}

Checkpoint = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models as small as these are several times slower with threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def task() -> Task:
    return Task("classification", "accuracy", ("negative", "positive"))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer("wordpiece", TEXTS, 120, 40)


@pytest.fixture
def checkpoint(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    """A function that saves a random classifier and its tokenizer and returns the folder."""

    def make(kind: str = "bert", dtype: torch.dtype = torch.float32, **config: object) -> Path:
        folder = tmp_path / f"{kind}-checkpoint"
        torch.manual_seed(7)
        shape = SHAPES[kind](vocab_size=len(tokenizer), **config)
        model = AutoModelForSequenceClassification.from_config(shape)
        # Weights as large as these make the logits differ visibly between layers.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """The folder of a fresh, tiny classifier that raykd has built."""
    shape = ModelConfig(layers=1, hidden_size=16, heads=2, vocab_size=100)
    texts = [f"word{k} is good and word{k + 1} is bad" for k in range(40)]
    task = Task("classification", "accuracy", ("negative", "positive"))
    models.save(*models.build(shape, task, texts, seed=0, max_length=24), tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """Of this process alone, for models wrapped for data-parallel training."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()

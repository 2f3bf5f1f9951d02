"""A model section of the configuration becomes a classifier: a checkpoint, a truncation of one, or a fresh model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raykd.config import ModelConfig
from raykd.errors import ModelError
from raykd.models.checkpoint import (
    check_vocabulary,
    read_config,
    read_model,
    resolve,
    resolve_tokenizer,
)
from raykd.models.length import check_length
from raykd.models.tokenizers import KINDS, read_tokenizer, train_tokenizer
from raykd.models.truncate import truncate

if TYPE_CHECKING:
    from raykd.data.tasks import Task

DROPOUTS = ("dropout", "dropout_prob", "dropout_rate", "pdrop")
"""How the names of dropout shares end in the configurations of transformers."""


def build(
    spec: ModelConfig, task: Task, texts: Iterable[str] | None, seed: int, max_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that a section describes, as a float32 classifier of the task in eval mode, with its tokenizer.

    Args:
        texts: the corpus that a fresh model's own tokenizer is trained on; None where no tokenizer is trained.
        seed: of all weights that no checkpoint brings; the global random state is left as it was.
        max_length: tokens of the longest row that the model will see.

    Raises:
        ModelError: the checkpoint cannot be used, lacks a layer that is asked for, or takes only shorter rows.
    """
    if spec.from_ is None:
        return _fresh(spec, task, texts, seed, max_length)
    path = resolve(spec.from_)
    config = read_config(path, spec.from_)
    _set_task(config, task)
    set_dropout(config, spec.dropout, spec.from_)
    with _drawn_from(seed):
        model, _ = read_model(path, config, spec.from_)
    tokenizer = read_tokenizer(path, spec.from_)
    check_vocabulary(model, tokenizer, spec.from_)
    check_length(model, max_length, spec.from_)
    if spec.layers is not None:
        model = truncate(model, spec.layers, spec.from_)
    return model, tokenizer


def _fresh(
    spec: ModelConfig, task: Task, texts: Iterable[str] | None, seed: int, max_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A BERT of the given shape with random weights."""
    tokenizer: PreTrainedTokenizerBase
    if spec.tokenizer in KINDS:
        if texts is None:
            raise ModelError("fresh model", f"a {spec.tokenizer} tokenizer is trained on texts", "give it a corpus")
        tokenizer = train_tokenizer(spec.tokenizer, texts, spec.vocab_size, max_length)
    else:
        tokenizer = read_tokenizer(resolve_tokenizer(spec.tokenizer), spec.tokenizer)
    config = fresh_config(spec, max(tokenizer.get_vocab().values()) + 1, tokenizer.pad_token_id, max_length)
    _set_task(config, task)
    with _drawn_from(seed):
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    return model.eval(), tokenizer


def fresh_config(spec: ModelConfig, vocabulary: int, pad_token_id: Any, max_length: int) -> BertConfig:
    """The configuration of a fresh model.

    Raises:
        ModelError: the section names a checkpoint, or no whole shape.
    """
    if not isinstance(spec.layers, int) or spec.hidden_size is None or spec.heads is None:
        raise ModelError("fresh model", "needs layers, hidden_size and heads", "or give `from`")
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.intermediate_size or 4 * spec.hidden_size,
        max_position_embeddings=max_length,
        pad_token_id=pad_token_id,
        # BERT's 0.02 is for 768 wide; narrow models with it begin with flat attention and stay there for epochs.
        initializer_range=0.02 * math.sqrt(768 / spec.hidden_size),
    )
    set_dropout(config, spec.dropout, "fresh model")
    return config


def _set_task(config: PreTrainedConfig, task: Task) -> None:
    """The task's columns: their number, names and loss."""
    names = task.labels or ("LABEL_0",)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: k for k, name in enumerate(names)}
    config.problem_type = "regression" if task.type == "regression" else "single_label_classification"


def set_dropout(config: PreTrainedConfig, dropout: float | None, where: str) -> None:
    """One share for every dropout of the architecture, whatever it calls them."""
    if dropout is None:
        return
    keys = [key for key in config.to_dict() if key.endswith(DROPOUTS)]
    if not keys:
        raise ModelError(where, f"a {config.model_type} has no dropout to set", "leave dropout out")
    for key in keys:
        setattr(config, key, dropout)


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Random weights come from `seed`; afterwards the global random state is what it was."""
    # The CPU's generator alone: weights are drawn on the CPU, and torch.manual_seed would seed the GPUs too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield

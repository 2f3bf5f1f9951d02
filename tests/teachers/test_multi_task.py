"""The multi-task teacher's loss against loops over rows; the classifier of a domain in the place of the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import generated_corpus
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
)

from raykd import models
from raykd.config import ModelConfig
from raykd.data.batch import Batch
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.errors import ModelError
from raykd.models import forward
from raykd.teachers.multi_task import MultiTaskStep, last_linear

NAMES = ("books", "electronics", "kitchen")
TASK = Task("classification", "accuracy", ("negative", "positive"))
GLOBAL_ROWS = 11
IDS = np.array([4, 31, 8, 57, 18, 26, 40])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generated_corpus(tmp_path_factory.mktemp("cache"), rows=100, validation_rows=50, domains=3)[0]


@pytest.fixture
def built(corpus: Corpus) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    shape = ModelConfig(layers=1, hidden_size=16, heads=2, vocab_size=200, dropout=0.0)
    texts = corpus.rows("train").texts(corpus.ids["train"])
    model, tokenizer = models.build(shape, TASK, texts, 0, 24)
    return model.double().train(), tokenizer


def step_of(corpus: Corpus) -> MultiTaskStep:
    torch.manual_seed(3)
    heads = nn.ModuleList(nn.Linear(16, 2, dtype=torch.float64) for _ in NAMES)
    return MultiTaskStep(TASK, heads, NAMES, corpus.rows("train"), "teacher")


def batch_of(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> Batch:
    rows = corpus.rows("train")
    return Batch(ids, torch.from_numpy(rows.labels(ids)), Encoder(tokenizer, rows, 24).encode(ids), 0, 0, GLOBAL_ROWS)


def test_each_row_has_the_classifier_of_its_domain(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    model, tokenizer = built
    step = step_of(corpus)
    loss = step.loss(model, batch_of(corpus, tokenizer, IDS)).total
    names = corpus.rows("train").domains(IDS) or []
    total = torch.zeros((), dtype=torch.float64)
    for i, name in enumerate(names):
        row = batch_of(corpus, tokenizer, IDS[i : i + 1])
        model.classifier = step.beside[NAMES.index(name)]  # an ordinary classifier with that last layer
        logits_C = forward.logits(model, row.encoded)[0]
        total = total + torch.logsumexp(logits_C, 0) - logits_C[int(row.labels_B[0])]
    torch.testing.assert_close(loss, total / GLOBAL_ROWS, rtol=1e-10, atol=1e-12)


def test_only_the_encoder_and_the_heads_of_the_rows_domains_learn(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    model, tokenizer = built
    step = step_of(corpus)
    names = np.array(corpus.rows("train").domains(np.arange(100)))
    ids = np.flatnonzero(names != "electronics")[:6]
    step.loss(model, batch_of(corpus, tokenizer, ids)).total.backward()
    moved = [any(bool(p.grad is not None and p.grad.any()) for p in head.parameters()) for head in step.beside]
    assert moved == [True, False, True]
    assert all(p.grad is None for p in last_linear(model, 2, "").parameters())
    assert model.get_input_embeddings().weight.grad is not None


def test_the_models_own_classifier_is_the_mean(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    """Its logits are then the mean of the logits that the domains' classifiers give."""
    model, tokenizer = built
    step, batch = step_of(corpus), batch_of(corpus, tokenizer, IDS)
    step.end(model, torch.optim.SGD(model.parameters()), [batch])
    with torch.no_grad():
        own_BC = forward.logits(model, batch.encoded)
        each = []
        for head in step.beside:
            model.classifier = head
            each.append(forward.logits(model, batch.encoded))
    torch.testing.assert_close(own_BC, torch.stack(each).mean(0))


SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 50,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**SMALL),
    "electra": ElectraConfig(**SMALL, embedding_size=8),
    "albert": AlbertConfig(**SMALL, embedding_size=8),
    "distilbert": DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=24, vocab_size=50),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_last_layer_gives_the_logits(kind: str) -> None:
    """Whatever an architecture calls it: with weights 0 its bias is all that is left."""
    config = CONFIGS[kind]
    config.num_labels = 3
    model = AutoModelForSequenceClassification.from_config(config).eval()
    last = last_linear(model, 3, "model")
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        logits_BC = forward.logits(model, {"input_ids": torch.ones(2, 4, dtype=torch.int64)})
    torch.testing.assert_close(logits_BC, torch.tensor([[1.0, 2.0, 3.0]] * 2))


def test_a_classifier_that_does_not_end_with_one_is_refused(
    built: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> None:
    model, _ = built
    for module, classes in ((model, 3), (nn.Sequential(nn.LayerNorm(3)), 3)):
        with pytest.raises(ModelError, match="its classifier does not end with a linear layer") as refused:
            last_linear(module, classes, "teacher big")
        assert "\n" not in str(refused.value)
        assert refused.value.status == 2

"""The meta-teacher's loss and its gradients against rows one at a time, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import generated_corpus
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raykd import models
from raykd.columns import Column
from raykd.config import MetaTeacherConfig, ModelConfig, TeacherConfig
from raykd.data.batch import Batch
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.models.domain_head import FOLDER, DomainHead, load_domain_head, other_domains
from raykd.teachers.meta_teacher import MetaStep

NAMES = ("books", "electronics", "kitchen")
TASK = Task("classification", "accuracy", ("negative", "positive"))
ROWS, GLOBAL_ROWS, GAMMA, SEED = 7, 11, 0.7, 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generated_corpus(tmp_path_factory.mktemp("cache"), rows=100, validation_rows=50, domains=3)[0]


@pytest.fixture
def built(corpus: Corpus) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    shape = ModelConfig(layers=2, hidden_size=16, heads=2, vocab_size=200, dropout=0.0)
    texts = corpus.rows("train").texts(corpus.ids["train"])
    model, tokenizer = models.build(shape, TASK, texts, 0, 24)
    return model.double().train(), tokenizer


def meta(**keys: Any) -> MetaTeacherConfig:
    config = TeacherConfig.of({"prepare": "meta", "model": "unused", "domain_weight": GAMMA, **keys})
    assert isinstance(config, MetaTeacherConfig)
    return config


def step_of(corpus: Corpus, scores: np.ndarray | None = None, **keys: Any) -> MetaStep:
    head = DomainHead(NAMES, 16, torch.float64, SEED)
    with torch.no_grad():  # as after some steps: from 0 nothing would reach the model
        head.classify.weight.normal_(generator=torch.Generator().manual_seed(SEED))
    return MetaStep(TASK, head, Column("hidden", 2), scores, corpus.rows("train"), meta(**keys), SEED)


def batch_of(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, ids: np.ndarray, step: int = 3) -> Batch:
    rows = corpus.rows("train")
    encoded = Encoder(tokenizer, rows, 24).encode(ids)
    return Batch(ids, torch.from_numpy(rows.labels(ids)), encoded, step, 0, GLOBAL_ROWS)


IDS = np.array([4, 31, 8, 57, 18, 26, 40])
SCORES = np.random.default_rng(0).random(100)


def slow_losses(
    corpus: Corpus, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, step: MetaStep, domain_loss: str
) -> tuple[list[Tensor], list[Tensor]]:
    """CE of the class and of the domain, of each row without padding, from the formulas."""
    rows, head = corpus.rows("train"), step.head
    names, hard, domain = rows.domains(IDS) or [], [], []
    for i, row in enumerate(IDS):
        encoded = tokenizer(rows.texts(IDS[i : i + 1]), truncation=True, max_length=24, return_tensors="pt")
        out = model(**encoded, output_hidden_states=True)
        label = int(rows.labels(IDS[i : i + 1])[0])
        hard.append(torch.logsumexp(out.logits[0], 0) - out.logits[0, label])
        own = NAMES.index(names[i])
        mean_H = out.hidden_states[-1][0].sum(0) / encoded["input_ids"].shape[1]
        if domain_loss == "reverse":
            embedded_H, aim = head.embedding.mean(0), own
        else:
            embedded_H = head.embedding[own]
            aim = int(other_domains(SEED, 3, np.array([row]), np.array([own]), 3)[0])
        mixed_H = torch.tanh(head.mix.weight @ (embedded_H + mean_H) + head.mix.bias)
        logits_D = head.classify.weight @ mixed_H + head.classify.bias
        domain.append(torch.logsumexp(logits_D, 0) - logits_D[aim])
    return hard, domain


def gradients(total: Tensor, module: torch.nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(total, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, module.parameters(), strict=True)]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("domain_loss", ["corrupt", "reverse", "none"])
def test_loss_and_gradients_are_those_of_the_formula(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase], domain_loss: str, weighted: bool
) -> None:
    """Under `reverse` the head has the gradient of its loss, and the encoder the opposite one."""
    model, tokenizer = built
    step = step_of(corpus, SCORES if weighted else None, domain_loss=domain_loss)
    loss = step.loss(model, batch_of(corpus, tokenizer, IDS))
    hard_B, domain_B = slow_losses(corpus, model, tokenizer, step, domain_loss)
    t_B = SCORES[IDS] if weighted else np.ones(ROWS)
    hard = torch.stack([float(t) * ce for t, ce in zip(t_B, hard_B, strict=True)]).sum() / GLOBAL_ROWS
    domain = GAMMA * torch.stack(domain_B).sum() / GLOBAL_ROWS
    if domain_loss == "none":
        domain = 0.0 * domain
    torch.testing.assert_close(loss.total, hard + domain, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(loss.parts["hard"], hard.detach(), rtol=1e-10, atol=1e-12)
    sign = -1.0 if domain_loss == "reverse" else 1.0
    for module, expected in ((model, hard + sign * domain), (step.head, domain)):
        for got, want in zip(gradients(loss.total, module), gradients(expected, module), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-10)
    moved = sum(float(g.abs().sum()) for g in gradients(loss.total, step.head))
    assert (moved > 0) == (domain_loss != "none")


def test_a_rows_score_weighs_that_rows_gradient(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    """Σ t_i g_i with the gradient g_i of each row alone; the mean score times the mean gradient is another vector."""
    model, tokenizer = built

    def gradient(scores: np.ndarray | None, ids: np.ndarray) -> Tensor:
        step = step_of(corpus, scores, domain_loss="none")
        total = step.loss(model, batch_of(corpus, tokenizer, ids)).total
        return torch.cat([g.flatten() for g in gradients(total, model)])

    whole = gradient(SCORES, IDS)
    rows = [SCORES[row] * gradient(None, np.array([row])) for row in IDS]
    torch.testing.assert_close(whole, torch.stack(rows).sum(0), rtol=1e-7, atol=1e-10)
    collapsed = SCORES[IDS].mean() * gradient(None, IDS)
    assert float((whole - collapsed).norm() / whole.norm()) > 0.02
    doubled = SCORES.copy()
    doubled[IDS[2]] *= 2
    torch.testing.assert_close(gradient(doubled, IDS) - whole, rows[2], rtol=1e-6, atol=1e-10)


def test_one_forward_pass_gives_logits_and_states(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    model, tokenizer = built
    calls: list[int] = []
    model.base_model.register_forward_hook(lambda *_: calls.append(1))
    step_of(corpus, SCORES, domain_loss="corrupt").loss(model, batch_of(corpus, tokenizer, IDS))
    assert calls == [1]


def test_what_a_row_is_told_depends_on_no_other_row(
    corpus: Corpus, built: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    """The micro-batches of a step sum to its batch, whichever worker has which row."""
    model, tokenizer = built
    step = step_of(corpus, SCORES, domain_loss="corrupt")
    whole = step.loss(model, batch_of(corpus, tokenizer, IDS)).total
    parts = [step.loss(model, batch_of(corpus, tokenizer, IDS[part])).total for part in (slice(4, 7), slice(0, 4))]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-10, atol=1e-12)
    later = step.loss(model, replace(batch_of(corpus, tokenizer, IDS), step=4)).total
    assert not torch.allclose(later, whole), "other wrong domains at the next step"


@pytest.mark.parametrize(
    ("keys", "kept"),
    [({"domain_loss": "corrupt"}, True), ({"domain_loss": "none"}, False), ({"domain_weight": 0.0}, False)],
)
def test_a_head_that_has_learnt_nothing_is_not_kept(
    corpus: Corpus,
    built: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    tmp_path: Path,
    keys: dict[str, Any],
    kept: bool,
) -> None:
    step = step_of(corpus, None, **keys)
    assert (step.beside is not None) == kept
    models.save(*built, tmp_path / "best")
    step.save_best(tmp_path / "best")
    assert (tmp_path / "best" / FOLDER).exists() == kept
    if kept:
        loaded = load_domain_head(tmp_path / "best", models.weights_fingerprint(tmp_path / "best"), torch.float64)
        assert torch.equal(loaded.mix.weight, step.head.mix.weight)
        assert load_file(tmp_path / "best" / "model.safetensors").keys() == built[0].state_dict().keys()

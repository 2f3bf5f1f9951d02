"""The loss of a batch with and without labels, and what a weighting is told of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from raykd import objective
from raykd.config import KLConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.student.step import DistillLoss, DistillStep
from raykd.training.dropout import DropoutKey, dropout_seed
from raykd.weighting import Stepped
from raykd.weighting.rules import Uniform

TASK = Task("classification", "accuracy", ("negative", "positive"))


class Given:
    """Two teachers' logits."""

    logits_KNC = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)

    def available(self, ids: np.ndarray) -> int:
        return 2 * len(ids)

    def get(self, ids: np.ndarray) -> np.ndarray:
        return self.logits_KNC[:, ids]


class Watching(Uniform):
    """Asks what a step led to, where it says that it will."""

    def __init__(self, says: bool) -> None:
        self.says = says
        self.change_B = torch.empty(0)

    def observes(self, step: int) -> bool:
        return self.says

    def observe(self, model: PreTrainedModel, step: int, stepped: list[Stepped]) -> None:
        self.change_B = torch.cat([one.after()[1] - one.before_B for one in stepped])


@pytest.mark.parametrize("says", [True, False])
def test_the_difference_of_two_passes_is_the_steps_and_not_the_dropouts(says: bool) -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
    model = BertForSequenceClassification(BertConfig(vocab_size=40, **shape)).train()
    distill_loss = DistillLoss(TASK, 0.5, objective.build(KLConfig()))
    weighting = Watching(says)
    step = DistillStep(distill_loss, weighting, Given(), torch.float32, dropout_key=DropoutKey(rank=1, seed=5))  # type: ignore[arg-type]
    batches = [
        Batch(np.arange(k, k + 3), torch.tensor([0, 1, 1]), {"input_ids": torch.randint(1, 40, (3, 7))}, 4, k // 3, 6)
        for k in (0, 3)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    changes = []
    for rate in (0.0, 1.0):
        step.begin(model, 4, batches)
        for batch in batches:
            torch.manual_seed(dropout_seed(5, 4, batch.micro, 1))  # as the loop does
            step.loss(model, batch).total.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        step.end(model, optimizer, batches)
        changes.append(weighting.change_B)
    assert torch.equal(changes[0], torch.zeros(6))
    assert (changes[1] != 0).all()


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_row_without_a_label_weighs_as_much_and_is_all_soft(classes: int) -> None:
    """L = (1/B) Σ_i [α_i KD_i + (1 − α_i) CE_i], α_i = 1 without a label; its gradient written out by hand, float64."""
    rng, alpha, tau = np.random.default_rng(classes), 0.3, 2.0
    z, t = rng.normal(size=(5, classes)), rng.normal(size=(5, classes))
    has = np.array([True, False, True, False, False])
    gold: Any = rng.normal(size=5) if classes == 1 else rng.integers(classes, size=5)
    labels = torch.tensor(np.where(has, gold, np.nan if classes == 1 else -1))
    task = Task("regression", "pearson") if classes == 1 else Task("classification", "accuracy", tuple("abc"[:classes]))
    loss = DistillLoss(task, alpha, objective.build(KLConfig(temperature=tau)))
    logits = torch.tensor(z, requires_grad=True)
    batch = Batch(np.arange(5), labels, {}, 0, 0, 7)
    total = loss.share(logits, torch.tensor(t)[None], torch.ones(5, 1, dtype=torch.float64), batch)
    total.backward()

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    if classes == 1:
        soft, hard = 2 * (z - t), 2 * (z - gold[:, None])
    else:
        soft, hard = tau * (softmax(z / tau) - softmax(t / tau)), softmax(z) - np.eye(classes)[gold]
    share = np.where(has, alpha, 1.0)[:, None]
    wanted = (share * soft + (1 - share) * hard) / 7
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), wanted, rtol=1e-10, atol=1e-14)
    assert torch.isfinite(total)

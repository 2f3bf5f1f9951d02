"""The step on labels alone, in half precision: what it loses is the forward pass's rounding and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_round import bert, tokens

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.supervised import SupervisedStep

ROWS, GLOBAL_ROWS = 6, 9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_regression_in_half_precision_keeps_labels_and_loss_exact(dtype: torch.dtype) -> None:
    """Scores about 100, where bfloat16 knows every half only; labels between them. Loss and slope against float64."""
    model = bert(1, seed=0, dtype=torch.float32).eval()
    with torch.no_grad():
        model.classifier.bias.fill_(100.0)
    torch.manual_seed(1)
    labels_B = 100 + 0.2 * torch.rand(ROWS, dtype=torch.float64)
    batch = Batch(np.arange(ROWS), labels_B, tokens(ROWS), 0, 0, GLOBAL_ROWS)
    with forward.autocast(torch.device("cpu"), dtype):
        logits_BC = forward.logits(model, batch.encoded)
        loss = SupervisedStep(Task("regression", "pearson")).loss(model, batch)
    assert logits_BC.dtype == dtype
    errors_B = logits_BC.detach().double()[:, 0] - labels_B
    assert float(loss.total.detach()) == pytest.approx(float((errors_B**2).sum() / GLOBAL_ROWS), rel=1e-4)
    loss.total.backward()
    assert model.classifier.bias.grad is not None
    # The slope passes through the bfloat16 output of the last layer: 8 binary digits a row.
    expected = float((2 * errors_B / GLOBAL_ROWS).sum())
    size = float((2 * errors_B / GLOBAL_ROWS).abs().sum())
    assert abs(float(model.classifier.bias.grad) - expected) < 2**-7 * size


def test_a_classification_in_half_precision_is_the_cross_entropy_of_its_logits() -> None:
    model = bert(3, seed=0, dtype=torch.float32).eval()
    torch.manual_seed(1)
    labels_B = torch.randint(3, (ROWS,))
    batch = Batch(np.arange(ROWS), labels_B, tokens(ROWS), 0, 0, GLOBAL_ROWS)
    with forward.autocast(torch.device("cpu"), torch.bfloat16):
        logits_BC = forward.logits(model, batch.encoded)
        loss = SupervisedStep(Task("classification", "accuracy", ("a", "b", "c"))).loss(model, batch)
    chosen_B = logits_BC.detach().double().log_softmax(-1)[torch.arange(ROWS), labels_B]
    assert float(loss.total.detach()) == pytest.approx(-float(chosen_B.sum()) / GLOBAL_ROWS, rel=1e-5)

"""Losses against closed forms, metrics against counts by hand and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from raykd.data.tasks import Task

BINARY = Task("classification", "f1", ("no", "yes"))
THREE = Task("classification", "matthews", ("a", "b", "c"))
REGRESSION = Task("regression", "pearson")


def test_classes() -> None:
    assert (BINARY.classes, THREE.classes, REGRESSION.classes) == (2, 3, 1)


def test_cross_entropy_of_two_classes_is_the_softplus_of_the_margin() -> None:
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    margins = [-2.0 - 1.0, 3.0 - 0.5, 0.0]
    expected = torch.tensor([math.log1p(math.exp(m)) for m in margins], dtype=torch.float64)
    torch.testing.assert_close(BINARY.hard_loss(logits, labels), expected, rtol=1e-12, atol=0)


def test_squared_error_in_the_logits_dtype() -> None:
    logits = torch.tensor([[1.5], [-1.0]], dtype=torch.float32)
    loss = REGRESSION.hard_loss(logits, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert loss.dtype == torch.float32
    assert loss.tolist() == [0.25, 9.0]


def test_binary_scores_by_hand() -> None:
    labels = np.array([1] * 6 + [0] * 4)
    chosen = np.array([1, 1, 1, 1, 0, 0, 1, 0, 0, 0])  # 4 true and 1 false positive, 2 false and 3 true negatives
    scores = BINARY.scores(np.stack([1.0 - chosen, chosen], axis=1), labels)
    assert scores["accuracy"] == pytest.approx(7 / 10)
    assert scores["f1"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 2))
    assert scores["matthews"] == pytest.approx((4 * 3 - 1 * 2) / math.sqrt(5 * 6 * 4 * 5))


def test_three_classes_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(3, size=200)
    chosen = logits.argmax(1)
    assert THREE.scores(logits, labels) == {
        "accuracy": pytest.approx((chosen == labels).mean()),
        "f1": pytest.approx(metrics.f1_score(labels, chosen, average="macro")),
        "matthews": pytest.approx(metrics.matthews_corrcoef(labels, chosen)),
    }


def test_regression_scores() -> None:
    rng = np.random.default_rng(0)
    predicted, gold = rng.normal(size=(50, 1)).astype(np.float32), rng.normal(size=50)
    centred = [values - values.mean() for values in (predicted[:, 0].astype(np.float64), gold)]
    assert REGRESSION.scores(predicted, gold) == {
        "pearson": pytest.approx(centred[0] @ centred[1] / math.prod(np.linalg.norm(c) for c in centred)),
        "spearman": pytest.approx(stats.spearmanr(predicted[:, 0], gold).statistic),
        "mse": pytest.approx(((predicted[:, 0] - gold) ** 2).mean()),
    }


@pytest.mark.filterwarnings("error")
def test_constant_predictions_correlate_with_nothing() -> None:
    gold = np.array([1.0, 2.0, 4.0])
    assert REGRESSION.scores(np.full((3, 1), 2.0), gold) == {"pearson": 0.0, "spearman": 0.0, "mse": 5 / 3}
    assert REGRESSION.scores(gold[:, None], np.ones(3))["pearson"] == 0.0
    assert BINARY.scores(np.array([[0.0, 1.0]] * 3), np.array([0, 1, 0]))["matthews"] == 0.0
    assert BINARY.scores(np.array([[1.0, 0.0]] * 3), np.array([0, 1, 0]))["f1"] == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_have_no_score(bad: float) -> None:
    """The largest of NaNs is the first: all rows would be answered with class 0, and half of them rightly."""
    logits, labels = np.array([[0.0, 1.0], [2.0, bad]]), np.array([1, 0])
    assert all(math.isnan(score) for score in BINARY.scores(logits, labels).values())
    assert set(BINARY.scores(logits, labels)) == set(BINARY.scores(np.nan_to_num(logits), labels))
    predicted, gold = np.array([[1.0], [bad], [3.0]]), np.array([1.0, 2.0, 4.0])
    assert all(math.isnan(score) for score in REGRESSION.scores(predicted, gold).values())
    assert set(REGRESSION.scores(predicted, gold)) == set(REGRESSION.scores(gold[:, None], gold))


def test_the_majority() -> None:
    labels = np.array([1, 1, 1, 0])
    assert Task("classification", "accuracy", ("no", "yes")).majority(labels) == 0.75
    assert BINARY.majority(labels) == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert THREE.majority(np.array([0, 2, 2])) == 0.0
    assert REGRESSION.majority(np.array([0.5, 1.0])) == 0.0

"""Each rule against its formula, written down here a second time in plain numpy; rows and teachers with loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.weighting import Weighting, fitted
from raykd.weighting.rules import Confidence, Entropy, Fixed, Oracle, Random, Uniform

TASK = Task("classification", "accuracy", ("a", "b", "c"))
RANDOM = torch.Generator().manual_seed(0)
LABELS_B = torch.tensor([0, 2, 1, 2])
LOGITS_KBC = 2 * torch.randn(3, 4, 3, generator=RANDOM, dtype=torch.float64)


def batch(step: int = 0, labels_B: torch.Tensor = LABELS_B) -> Batch:
    return Batch(np.arange(len(labels_B)), labels_B, {}, step, 0, len(labels_B))


def cross_entropy(k: int, i: int) -> float:
    return -log_softmax(LOGITS_KBC[k, i].numpy())[LABELS_B[i]]


def test_uniform() -> None:
    weights = Uniform().weigh(batch(), LOGITS_KBC)
    assert weights.dtype == torch.float64
    assert torch.equal(weights, torch.full((4, 3), 1 / 3, dtype=torch.float64))


def test_fixed_is_normalised() -> None:
    assert Fixed([1, 3, 0]).weigh(batch(), LOGITS_KBC).tolist() == [[0.25, 0.75, 0.0]] * 4


def test_random_is_one_teacher_a_batch_and_every_teacher_in_time() -> None:
    drawn = []
    for step in range(300):
        weights = Random(7).weigh(batch(step), LOGITS_KBC)
        assert torch.equal(weights, weights[:1].expand(4, -1))
        assert weights[0].tolist().count(1.0) == 1
        assert torch.equal(weights, Random(7).weigh(batch(step), LOGITS_KBC))
        drawn.append(int(weights[0].argmax()))
    # 100 of 300 expected of each, with a deviation of 8.2.
    assert np.bincount(drawn, minlength=3).min() > 60
    assert drawn != [int(Random(8).weigh(batch(step), LOGITS_KBC)[0].argmax()) for step in range(300)]


def test_confidence() -> None:
    weights = Confidence(TASK).weigh(batch(), LOGITS_KBC)
    for i in range(4):
        share = softmax([cross_entropy(k, i) for k in range(3)])
        np.testing.assert_allclose(weights[i], (1 - share) / 2, rtol=1e-12)


def test_confidence_of_rows_without_a_label_is_that_of_entropy() -> None:
    mixed = batch(labels_B=torch.tensor([0, -1, 1, -1]))
    weights = Confidence(TASK).weigh(mixed, LOGITS_KBC)
    assert torch.equal(weights[[0, 2]], Confidence(TASK).weigh(batch(), LOGITS_KBC)[[0, 2]])
    assert torch.equal(weights[[1, 3]], Entropy().weigh(mixed, LOGITS_KBC)[[1, 3]])
    nan = float("nan")
    of_numbers = Confidence(Task("regression", "pearson")).weigh(
        batch(labels_B=torch.tensor([0.5, nan, 2.0, nan], dtype=torch.float64)), LOGITS_KBC[..., :1]
    )
    np.testing.assert_allclose(of_numbers[[1, 3]], 1 / 3)
    assert not np.allclose(of_numbers[[0, 2]], 1 / 3)


def test_entropy() -> None:
    weights = Entropy().weigh(batch(), LOGITS_KBC)
    for i in range(4):
        p = [softmax(LOGITS_KBC[k, i].numpy()) for k in range(3)]
        entropies = [-sum(x * np.log(x) for x in one) for one in p]
        np.testing.assert_allclose(weights[i], [(1 - h / sum(entropies)) / 2 for h in entropies], rtol=1e-12)
    certain = torch.tensor([[[900.0, 0, 0]], [[0, 900.0, 0]]], dtype=torch.float64)
    np.testing.assert_allclose(Entropy().weigh(batch(labels_B=LABELS_B[:1]), certain), [[0.5, 0.5]])


def test_oracle_is_the_teacher_with_the_smallest_loss() -> None:
    weights = Oracle(TASK).weigh(batch(), LOGITS_KBC)
    for i in range(4):
        assert int(weights[i].argmax()) == int(np.argmin([cross_entropy(k, i) for k in range(3)]))
    assert weights.sum(1).tolist() == [1.0] * 4


@pytest.mark.parametrize("rule", [Uniform(), Fixed([2]), Random(0), Confidence(TASK), Entropy(), Oracle(TASK)])
def test_a_single_teacher_has_all(rule: Weighting) -> None:
    assert rule.weigh(batch(), LOGITS_KBC[:1]).tolist() == [[1.0]] * 4


def test_confidence_and_oracle_of_a_regression_go_by_the_squared_error() -> None:
    task = Task("regression", "pearson")
    labels_B, logits_KBC = torch.tensor([1.0, -1.0]).double(), torch.tensor([[[1.0], [0.0]], [[3.0], [-1.5]]]).double()
    assert Oracle(task).weigh(batch(labels_B=labels_B), logits_KBC).tolist() == [[1, 0], [0, 1]]
    weights = Confidence(task).weigh(batch(labels_B=labels_B), logits_KBC)
    np.testing.assert_allclose(weights[0], 1 - softmax([0.0, 4.0]), rtol=1e-6)
    np.testing.assert_allclose(weights[1], 1 - softmax([1.0, 0.25]), rtol=1e-6)


def planted(rows: int, powers: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from softmax(Σ b_k log p_k) with the given b."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(powers), rows, 3)) * 1.5
    p = softmax(np.einsum("k,knc->nc", powers, log_softmax(logits, axis=-1)), axis=-1)
    labels = (p.cumsum(1) > rng.random((rows, 1))).argmax(1)
    return torch.from_numpy(logits), torch.from_numpy(labels)


def test_logistic_finds_the_powers_that_made_the_labels() -> None:
    weights = fitted.logistic(*planted(20_000, [1.0, 0.5, 0.0]))
    np.testing.assert_allclose(weights, [2 / 3, 1 / 3, 0], atol=0.02)


def test_logistic_where_teachers_separate_or_mislead() -> None:
    logits_KNC, labels_N = planted(500, [1.0, 1.0])
    perfect = 2.0 * torch.nn.functional.one_hot(labels_N, 3).double()
    weights = fitted.logistic(torch.stack([perfect, logits_KNC[0]]), labels_N)
    assert weights[0] > 0.9
    assert fitted.logistic(torch.stack([-perfect, -2 * perfect]), labels_N) == [0.5, 0.5]


def test_best_is_the_smallest_mean_loss() -> None:
    logits_KNC, labels_N = planted(2000, [0.2, 1.0, 0.1])
    assert fitted.best(TASK, logits_KNC, labels_N) == [0.0, 1.0, 0.0]

"""Soft losses against their definitions, computed term by term in float64."""

from __future__ import annotations

import math

import pytest
import torch

from raykd.config import KLConfig, MSEConfig, ObjectiveConfig, PseudoLabelConfig
from raykd.objective import build


def by_hand(student: list[float], teachers: list[list[float]], weights: list[float], tau: float) -> float:
    """τ² Σ_c q_c (log q_c − log p_c), with Python's own arithmetic."""

    def softened(logits: list[float]) -> list[float]:
        raised = [math.exp(z / tau) for z in logits]
        return [value / sum(raised) for value in raised]

    soft = [softened(logits) for logits in teachers]
    blend = [sum(w * p[c] for w, p in zip(weights, soft, strict=True)) for c in range(len(student))]
    mine = softened(student)
    return tau**2 * sum(q * (math.log(q) - math.log(p)) for q, p in zip(blend, mine, strict=True) if q > 0)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_kl_is_the_definition(tau: float, classes: int) -> None:
    torch.manual_seed(0)
    student = torch.randn(7, classes, dtype=torch.float64)
    targets = 3 * torch.randn(3, 7, classes, dtype=torch.float64)
    weights = torch.softmax(torch.randn(7, 3, dtype=torch.float64), -1)
    got = build(KLConfig(temperature=tau)).per_example(student, targets, weights)
    wanted = [by_hand(student[i].tolist(), targets[:, i].tolist(), weights[i].tolist(), tau) for i in range(7)]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_kl_gradient_is_tau_times_the_difference_of_probabilities() -> None:
    """∂KD/∂z_S = τ (p_S^τ − q), Hinton et al. 2015 section 2.1."""
    torch.manual_seed(1)
    student = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    targets, tau = torch.randn(1, 5, 4, dtype=torch.float64), 3.0
    loss = build(KLConfig(temperature=tau)).per_example(student, targets, torch.ones(5, 1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    torch.testing.assert_close(gradient, tau * (torch.softmax(student / tau, -1) - torch.softmax(targets[0] / tau, -1)))


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_regression_is_the_squared_error_of_the_blend(kind: str) -> None:
    student = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    targets = torch.tensor([[[0.0], [4.0]], [[2.0], [0.0]]], dtype=torch.float64)
    weights = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)
    got = build(ObjectiveConfig.of(kind)).per_example(student, targets, weights)
    assert got.tolist() == [0.0, 1.0]  # blends 1 and 1


def test_mse_is_on_logits() -> None:
    student = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    targets = torch.tensor([[[3.0, 0.0]]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    got = build(MSEConfig()).per_example(student, targets, one)
    assert got.tolist() == [(4 + 1) / 2]


def test_certain_teachers_and_weights_of_zero_give_no_nan() -> None:
    student = torch.tensor([[5.0, -5.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[[1e4, -1e4], [1e4, -1e4]], [[-1e4, 1e4], [0.0, 0.0]]])
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = build(KLConfig(temperature=1)).per_example(student, targets, weights)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    assert loss[1].item() == pytest.approx(0.0, abs=1e-6)


def test_weights_change_each_rows_loss_alone() -> None:
    """Weights are per example: another weight on one row changes that row's loss and no other."""
    torch.manual_seed(2)
    student, targets = torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    weights = torch.full((4, 2), 0.5, dtype=torch.float64)
    loss = build(KLConfig())
    before = loss.per_example(student, targets, weights)
    weights[2] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    after = loss.per_example(student, targets, weights)
    assert (before != after).tolist() == [False, False, True, False]


def test_a_pseudo_label_is_the_blends_largest_class() -> None:
    """Two teachers whose answers differ: the weights decide, not the number of teachers or the size of logits."""
    targets = torch.tensor([[[1.0, 0.0]] * 3, [[0.0, 9.0]] * 3], dtype=torch.float64)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    student = torch.tensor([[0.3, -0.2]] * 3, dtype=torch.float64, requires_grad=True)
    loss = build(PseudoLabelConfig()).per_example(student, targets, weights)
    log_p = torch.log_softmax(student.detach(), -1)
    torch.testing.assert_close(loss.detach(), -log_p[torch.arange(3), torch.tensor([0, 1, 1])])
    loss.sum().backward()
    of_numbers = build(PseudoLabelConfig()).per_example(student[:, :1], targets[..., :1], weights)
    torch.testing.assert_close(of_numbers[2], (student[2, 0] - 0.5) ** 2)


@pytest.mark.parametrize(
    "config", [KLConfig(temperature=2.0), MSEConfig(), PseudoLabelConfig()], ids=lambda each: each.type
)
@pytest.mark.parametrize("learnt", [False, True], ids=["given", "learnt"])
def test_autocast_changes_no_soft_loss(config: ObjectiveConfig, learnt: bool) -> None:
    """The step takes its loss within autocast, which does products of matrices in half precision."""
    torch.manual_seed(3)
    student, targets = torch.randn(6, 4), 3 * torch.randn(3, 6, 4)
    weights = torch.softmax(torch.randn(6, 3), -1).requires_grad_(learnt)
    loss = build(config)
    plain = loss.per_example(student, targets, weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss.per_example(student, targets, weights), plain)

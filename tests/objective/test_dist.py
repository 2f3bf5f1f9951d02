"""The correlation loss against its definition, in plain loops; constants, two classes, what it is blind to."""

from __future__ import annotations

import math

import pytest
import torch
from soft_batch import soft_batch
from torch import Tensor

from raykd.config import DISTConfig
from raykd.objective import build
from raykd.objective.dist import CorrelationLoss, correlation


def pearson(x: list[float], y: list[float]) -> float:
    """As in a textbook: covariance by the product of standard deviations."""
    n, mean_x, mean_y = len(x), sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    deviations = [math.sqrt(sum((a - m) ** 2 for a in z) / n) for z, m in ((x, mean_x), (y, mean_y))]
    return covariance / (deviations[0] * deviations[1])


def by_hand(p: list[list[float]], q: list[list[float]], beta: float, gamma: float) -> float:
    """β · mean_i (1 − ρ_i) + γ · mean_c (1 − ρ_c), equations 6 to 9 of the paper."""
    rows, columns = len(p), len(p[0])
    inter = sum(1 - pearson(p[i], q[i]) for i in range(rows)) / rows if columns > 2 else 0.0
    intra = sum(1 - pearson([row[c] for row in p], [row[c] for row in q]) for c in range(columns)) / columns
    return beta * inter + gamma * intra


def a_batch(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    return soft_batch(classes, rows=9, spread=2)


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_mean_over_the_rows_is_the_definition(tau: float, classes: int) -> None:
    student_BC, targets_KBC, weights_BK = a_batch(classes)
    config = DISTConfig(temperature=tau, beta=0.7, gamma=2.0)
    got_B = build(config).per_example(student_BC, targets_KBC, weights_BK)
    p_BC = torch.softmax(student_BC / tau, -1)
    q_BC = torch.einsum("bk,kbc->bc", weights_BK, torch.softmax(targets_KBC / tau, -1))
    assert got_B.shape == (9,)
    assert got_B.mean().item() == pytest.approx(by_hand(p_BC.tolist(), q_BC.tolist(), 0.7, 2.0), rel=1e-8)


def test_the_term_of_a_row_is_its_own_and_that_of_the_batch_is_everybodys() -> None:
    student_BC, targets_KBC, weights_BK = a_batch(4)
    within = CorrelationLoss(1.0, 1.0, 0.0).per_example(student_BC, targets_KBC, weights_BK)
    across = CorrelationLoss(1.0, 0.0, 1.0).per_example(student_BC, targets_KBC, weights_BK)
    both = CorrelationLoss(1.0, 1.0, 1.0).per_example(student_BC, targets_KBC, weights_BK)
    assert len(set(within.tolist())) == 9
    assert len(set(across.tolist())) == 1
    torch.testing.assert_close(both, within + across)


def test_two_classes_have_the_term_over_the_batch_alone() -> None:
    student_BC, targets_KBC, weights_BK = a_batch(2)
    some, none = (
        CorrelationLoss(1.0, beta, 1.0).per_example(student_BC, targets_KBC, weights_BK) for beta in (5.0, 0.0)
    )
    assert torch.equal(some, none)


def test_a_student_that_agrees_but_for_scale_and_shift_of_probabilities_has_no_loss() -> None:
    """What the paper is about: relations are to be matched, not values."""
    q_BC = torch.softmax(torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), -1)
    p_BC = 0.4 * q_BC + 0.6 / 5
    one_B1 = torch.ones(8, 1, dtype=torch.float64)
    loss = CorrelationLoss(1.0, 1.0, 1.0).per_example(p_BC.log(), q_BC.log()[None], one_B1)
    torch.testing.assert_close(loss, torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constants_and_sure_answers_have_finite_derivatives(rows: int, dtype: torch.dtype) -> None:
    """A batch of one row, a student that answers all rows alike, a class that underflows on all of them."""
    sure, flat = torch.tensor([1e4, 0.0, -1e4], dtype=dtype).repeat(rows, 1), torch.zeros(rows, 3, dtype=dtype)
    varied = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    for student in (sure, flat, varied):
        for teacher in (sure, flat, varied):
            z_BC, t_KBC = student.clone().requires_grad_(), teacher[None].clone().requires_grad_()
            loss = CorrelationLoss(1.0, 1.0, 1.0).per_example(z_BC, t_KBC, torch.ones(rows, 1, dtype=dtype))
            (slope,) = torch.autograd.grad(loss.sum(), z_BC, create_graph=True)
            (mixed,) = torch.autograd.grad((slope * varied).sum(), t_KBC)
            assert all(torch.isfinite(tensor).all() for tensor in (loss, slope, mixed))


def test_a_correlation_with_a_constant_is_0() -> None:
    x, constant = torch.randn(6, dtype=torch.float64), torch.full((6,), 0.25, dtype=torch.float64)
    assert correlation(x, constant, 0).item() == pytest.approx(0.0, abs=1e-6)
    assert correlation(constant, constant, 0).item() == 0.0
    assert correlation(x, x, 0).item() == pytest.approx(1.0, abs=1e-9)


def test_autocast_changes_nothing() -> None:
    """The step takes its loss within autocast, which does products of matrices in half precision."""
    student_BC, targets_KBC, weights_BK = (tensor.float() for tensor in a_batch(4))
    loss = CorrelationLoss(1.0, 1.0, 1.0)
    plain = loss.per_example(student_BC, targets_KBC, weights_BK)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss.per_example(student_BC, targets_KBC, weights_BK), plain)

"""Decoupled distillation against its definition, in plain loops; where probabilities underflow and weights are 0."""

from __future__ import annotations

import math

import pytest
import torch
from soft_batch import soft_batch
from torch import Tensor

from raykd.config import DKDConfig, KLConfig
from raykd.objective import build
from raykd.objective.dkd import DecoupledKD


def softened(logits: list[float], tau: float) -> list[float]:
    raised = [math.exp(z / tau) for z in logits]
    return [value / sum(raised) for value in raised]


def by_hand(
    student: list[float], teachers: list[list[float]], weights: list[float], tau: float, a: float, b: float
) -> float:
    """a τ² KL(b^T ‖ b^S) + b τ² KL(p̂^T ‖ p̂^S) of the paper's equation 7, with the blend's answer as target."""
    soft = [softened(logits, tau) for logits in teachers]
    q = [sum(w * p[c] for w, p in zip(weights, soft, strict=True)) for c in range(len(student))]
    p, t = softened(student, tau), q.index(max(q))
    pair = sum(x * math.log(x / y) for x, y in ((q[t], p[t]), (1 - q[t], 1 - p[t])))
    rest = 0.0
    for c in range(len(q)):
        if c != t:
            x, y = q[c] / (1 - q[t]), p[c] / (1 - p[t])
            rest += x * math.log(x / y)
    return tau**2 * (a * pair + b * rest)


def a_batch(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    return soft_batch(classes, rows=7, spread=3)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("classes", [3, 6])
def test_it_is_the_definition(tau: float, classes: int) -> None:
    student_BC, targets_KBC, weights_BK = a_batch(classes)
    config = DKDConfig(temperature=tau, target=0.7, non_target=3.0)
    got = build(config).per_example(student_BC, targets_KBC, weights_BK)
    each = [
        by_hand(student_BC[i].tolist(), targets_KBC[:, i].tolist(), weights_BK[i].tolist(), tau, 0.7, 3.0)
        for i in range(7)
    ]
    torch.testing.assert_close(got, torch.tensor(each, dtype=torch.float64), rtol=1e-11, atol=1e-13)


def test_the_defaults_are_those_of_the_paper() -> None:
    assert (DKDConfig().target, DKDConfig().non_target) == (1.0, 8.0)


def test_the_divergence_is_both_parts_weighed_by_what_the_teacher_leaves_to_the_others() -> None:
    """KL = KL(pair) + (1 − q_t) KL(rest), equation 6 of the paper."""
    student_BC, targets_KBC, weights_BK = a_batch(5)
    parts = [
        build(DKDConfig(target=a, non_target=b)).per_example(student_BC, targets_KBC, weights_BK)
        for a, b in ((1, 0), (0, 1))
    ]
    q_BC = torch.einsum("bk,kbc->bc", weights_BK, torch.softmax(targets_KBC / 2, -1))
    whole = build(KLConfig()).per_example(student_BC, targets_KBC, weights_BK)
    torch.testing.assert_close(parts[0] + (1 - q_BC.max(-1).values) * parts[1], whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sure_teachers_and_students_keep_value_and_gradient_finite(dtype: torch.dtype) -> None:
    """1 − q_t underflows, and the softmax over the rest is right all the same."""
    far = 200.0 if dtype == torch.float32 else 1e4
    targets_KBC = torch.tensor([[[far, 1.0, 0.0]], [[0.0, -1e4, 1e4]]], dtype=dtype)
    weights_BK = torch.tensor([[1.0, 0.0]], dtype=dtype)
    for logits in ([0.3, 0.1, -0.2], [1e4, 0.0, -1e4], [-1e4, 1e4, 0.0]):
        student_BC = torch.tensor([logits], dtype=dtype, requires_grad=True)
        loss = DecoupledKD(1.0, 1.0, 8.0).per_example(student_BC, targets_KBC, weights_BK)
        (gradient,) = torch.autograd.grad(loss.sum(), student_BC)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
        p, rest = torch.log_softmax(student_BC[0].double(), -1), torch.log_softmax(student_BC[0, 1:].double(), -1)
        q = torch.softmax(torch.tensor([1.0, 0.0], dtype=torch.float64), -1)
        wanted = -p[0] + 8 * (q * (q.log() - rest)).sum()
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4 if dtype == torch.float32 else 1e-10)


def test_the_second_derivative_by_the_teachers_is_finite_where_they_are_sure() -> None:
    targets_KBC = torch.tensor([[[1e4, 1.0, 0.0]], [[0.0, -1e4, 1e4]]], requires_grad=True)
    student_BC = torch.randn(1, 3, requires_grad=True)
    loss = DecoupledKD(1.0, 1.0, 8.0).per_example(student_BC, targets_KBC, torch.tensor([[1.0, 0.0]]))
    (slope,) = torch.autograd.grad(loss.sum(), student_BC, create_graph=True)
    (mixed,) = torch.autograd.grad(slope[0, 1], targets_KBC)
    assert torch.isfinite(mixed).all()
    assert mixed[0].abs().max() > 0.1
    assert not mixed[1].any()  # a teacher of weight 0


def mixed_by_weights(soft: DecoupledKD, student_BC: Tensor, targets_KBC: Tensor, weights_BK: Tensor) -> Tensor:
    """∂/∂w_ik Σ_c u_ic ∂DKD_i/∂z_ic, [B, K], with u = 1, 2, 3, … over the classes."""
    student_BC = student_BC.detach().requires_grad_()
    weights_BK = weights_BK.detach().requires_grad_()
    loss = soft.per_example(student_BC, targets_KBC, weights_BK)
    (slope,) = torch.autograd.grad(loss.sum(), student_BC, create_graph=True)
    along = (slope * torch.arange(1.0, slope.shape[1] + 1, dtype=slope.dtype)).sum()
    return torch.autograd.grad(along, weights_BK)[0]


def test_values_with_and_without_a_gradient_on_the_weights_are_the_same() -> None:
    student_BC, targets_KBC, weights_BK = a_batch(4)
    targets_KBC[0, 0] = torch.tensor([0.0, 4000.0, -4000.0, 0.0])  # its row has the first teacher alone
    soft = DecoupledKD(2.0, 1.0, 8.0)
    plain = soft.per_example(student_BC, targets_KBC, weights_BK)
    torch.testing.assert_close(soft.per_example(student_BC, targets_KBC, weights_BK.requires_grad_()), plain)


def test_the_mixed_derivative_by_the_weights_is_that_of_differences() -> None:
    """One-sided, as a weight of 0 cannot fall; of the slope that the branch without a gradient gives."""
    student_BC, targets_KBC, weights_BK = a_batch(4)
    soft, u_C = DecoupledKD(2.0, 0.5, 3.0), torch.arange(1.0, 5.0, dtype=torch.float64)

    def along(weights_BK: Tensor) -> Tensor:
        z_BC = student_BC.detach().requires_grad_()
        (slope,) = torch.autograd.grad(soft.per_example(z_BC, targets_KBC, weights_BK).sum(), z_BC)
        return (slope * u_C).sum(-1)

    got = mixed_by_weights(soft, student_BC, targets_KBC, weights_BK)
    for k in range(3):
        steps = []
        for times in (1, 2, 3):
            moved = weights_BK.clone()
            moved[:, k] += times * 1e-3
            steps.append(along(moved) - along(weights_BK))
        wanted = (3 * steps[0] - 1.5 * steps[1] + steps[2] / 3) / 1e-3
        torch.testing.assert_close(got[:, k], wanted, rtol=1e-5, atol=1e-6 * float(got.abs().max()))


def test_the_derivative_by_a_weight_of_0_is_bounded_where_that_teacher_alone_has_the_rest() -> None:
    targets_KBC = torch.tensor([[[1e4, 0.0, 0.0]], [[0.0, 5.0, 0.0]]], dtype=torch.float64)
    student_BC, weights_BK = torch.tensor([[0.2, -0.1, 0.4]]).double(), torch.tensor([[1.0, 0.0]]).double()
    got = mixed_by_weights(DecoupledKD(1.0, 1.0, 8.0), student_BC, targets_KBC, weights_BK)
    assert torch.isfinite(got).all()
    assert 1e3 < got[0, 1].abs().item() < 1e6

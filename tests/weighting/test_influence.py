"""The reward `influence` in float64: against finite differences of the quiz loss, shards, expectation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from one_round import (
    ALPHA,
    LR,
    ROWS,
    UNEQUAL,
    WHOLE,
    Round,
    alone,
)
from torch import Tensor

from raykd.data.batch import Batch
from raykd.feedback.cotangent import Micro, forward_mode, pilot, quiz_gradient
from raykd.objective import Objective
from raykd.objective.dist import CorrelationLoss
from raykd.objective.dkd import DecoupledKD
from raykd.objective.soft import MeanSquaredError, SoftenedKL
from raykd.weighting import Stepping
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.influence import centred, influence, of_choices

SOFT: dict[str, Objective] = {
    "kl": SoftenedKL(3.0),
    "mse": MeanSquaredError(),
    "dkd": DecoupledKD(3.0, 1.0, 8.0),
    "dist": CorrelationLoss(1.5, 2.0, 3.0),
}
CLASSES = {"kl": (1, 2, 5), "mse": (1, 2, 5), "dkd": (3, 5), "dist": (2, 5)}
COMPARED = 5
"""Rows whose differences are taken; those with weights of 0 are among them."""
CASES = [(soft, classes, teachers) for soft in SOFT for classes in CLASSES[soft] for teachers in (1, 3)]


def a_round(soft: str, classes: int, teachers: int, dropout: float = 0.0) -> Round:
    """With rows that hear one teacher alone, and one that hears two of three."""
    made = Round(SOFT[soft], classes, teachers, dropout)
    if teachers > 1:
        made.weights_BK[1] = torch.eye(teachers, dtype=torch.float64)[-1]
        made.weights_BK[2] = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    return made


def influences(made: Round, shards: list[slice]) -> Tensor:
    """r [B, K] as the weighting takes it, v at φ."""
    theta, micros = made.theta, made.micros(shards)
    phi, at_theta = pilot(theta, micros, LR, alone, "forward")
    v, _ = quiz_gradient(phi, made.quiz_loss, alone)
    each = zip(shards, micros, at_theta, strict=True)
    return torch.cat([of_shard(made, rows, micro, at[0], v) for rows, micro, at in each])


def of_shard(made: Round, rows: slice, micro: Micro, logits_BC: Tensor, v: dict[str, Tensor]) -> Tensor:
    targets_KBC, ids = micro.served[0], np.arange(ROWS)[rows]
    (u_BC,) = forward_mode(made.theta, v, micro)

    def share(student_BC: Tensor, weights_BK: Tensor) -> Tensor:
        soft_B = made.soft.per_example(student_BC, targets_KBC, weights_BK)
        return (ALPHA * soft_B.sum() + (1 - ALPHA) * made.task_loss(student_BC, made.labels[rows])) / ROWS

    # A label that nobody may read.
    batch = Batch(ids, torch.full((len(ids),), float("nan")), {}, 0, 0, ROWS)
    at: Any = None
    return influence(Stepping(batch, made.weights_BK[rows], logits_BC, torch.float64, at, share, u_BC), u_BC)


def quiz_after_a_step(made: Round, weights_BK: Tensor) -> float:
    """ℓ after one SGD step with these weights of the teachers; plain autograd, nothing of the cotangents."""
    theta, (targets_KBC,) = made.theta, tuple(t.detach() for t in made.taught(slice(0, ROWS)))
    student_BC = made.forward(slice(0, ROWS), theta)[0]
    # The value by logsumexp, not by the form that takes a gradient.
    soft = made.soft.per_example(student_BC, targets_KBC, weights_BK).sum()
    loss = (ALPHA * soft + (1 - ALPHA) * made.task_loss(student_BC, made.labels)) / ROWS
    gradients = torch.autograd.grad(loss, list(theta.values()))
    phi = {name: p.detach() - LR * g for (name, p), g in zip(theta.items(), gradients, strict=True)}
    return made.quiz_loss(phi).item()


def differences(made: Round, direction: Callable[[int], Tensor], step: float) -> Tensor:
    """−(1/η) ∂ℓ/∂w_ik along `direction(k)` [K] of the first rows' weights, [COMPARED, K].

    One-sided and twice extrapolated, so that no weight of 0 becomes negative where log w is taken.
    """
    start, teachers = quiz_after_a_step(made, made.weights_BK), made.weights_BK.shape[1]
    found = torch.zeros(COMPARED, teachers, dtype=torch.float64)
    for i, k in product(range(COMPARED), range(teachers)):
        moved = []
        for times in (1, 2, 3):
            weights_BK = made.weights_BK.clone()
            weights_BK[i] += times * step * direction(k)
            moved.append(quiz_after_a_step(made, weights_BK) - start)
        found[i, k] = -(3 * moved[0] - 1.5 * moved[1] + moved[2] / 3) / (step * LR)
    return found


@pytest.mark.parametrize(("soft", "classes", "teachers"), CASES)
def test_raw_r_is_the_fall_of_the_quiz_loss_where_one_weight_moves_alone(
    soft: str, classes: int, teachers: int
) -> None:
    made = a_round(soft, classes, teachers)
    got = influences(made, WHOLE)
    assert torch.isfinite(got).all()
    wanted = differences(made, lambda k: torch.eye(teachers, dtype=torch.float64)[k], 1e-3)
    assert wanted.abs().max() > 1e-6
    torch.testing.assert_close(got[:COMPARED], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize(("soft", "classes"), [("kl", 2), ("kl", 5), ("mse", 5), ("dkd", 5), ("dist", 5)])
def test_centred_r_is_its_fall_where_a_weight_is_taken_from_all_alike(soft: str, classes: int) -> None:
    """Along e_k − 1/K: the weights go on summing to 1. Weights above 0, as some fall."""
    made = Round(SOFT[soft], classes, 3)
    made.weights_BK = (made.weights_BK + 0.2) / (made.weights_BK + 0.2).sum(1, keepdim=True)
    got = centred(influences(made, WHOLE), ROWS) / ROWS
    wanted = differences(made, lambda k: torch.eye(3, dtype=torch.float64)[k] - 1 / 3, 1e-3)
    torch.testing.assert_close(got[:COMPARED], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


def test_the_closed_form_of_the_divergence_holds_after_centring_alone() -> None:
    made = a_round("kl", 5, 3)
    theta, (micro,) = made.theta, made.micros(WHOLE)
    phi, _ = pilot(theta, [micro], LR, alone, "forward")
    v, _ = quiz_gradient(phi, made.quiz_loss, alone)
    (u_BC,) = forward_mode(theta, v, micro)
    p_KBC = torch.softmax(micro.served[0] / 3.0, -1)
    closed_BK = -(ALPHA * 3.0 / ROWS) * torch.einsum("bc,kbc->bk", u_BC, p_KBC)
    raw_BK = influences(made, WHOLE)
    assert (raw_BK - closed_BK).abs().max() > 1e-3 * raw_BK.abs().max()
    centre = partial(torch.mean, dim=1, keepdim=True)
    torch.testing.assert_close(raw_BK - centre(raw_BK), closed_BK - centre(closed_BK), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("soft", ["kl", "mse", "dkd"])
def test_shards_of_any_size_give_the_same_r(soft: str) -> None:
    made = a_round(soft, 5, 3)
    torch.testing.assert_close(influences(made, UNEQUAL), influences(made, WHOLE), rtol=1e-10, atol=1e-16)


def test_the_divergence_has_one_value_with_and_without_a_gradient_on_the_weights() -> None:
    torch.manual_seed(0)
    student_BC, targets_KBC = torch.randn(6, 4).double(), 3 * torch.randn(3, 6, 4).double()
    targets_KBC[0, 0] = torch.tensor([0.0, 4000.0, -4000.0, 0.0])  # a class whose probability underflows
    weights_BK = torch.tensor([[1.0, 0, 0]] * 3 + [[0.2, 0.3, 0.5]] * 3).double()
    plain = SOFT["kl"].per_example(student_BC, targets_KBC, weights_BK)
    torch.testing.assert_close(SOFT["kl"].per_example(student_BC, targets_KBC, weights_BK.requires_grad_()), plain)


def test_r_of_a_teacher_that_alone_allows_a_class_is_finite_and_exact() -> None:
    """Teacher 0 has all weight and gives class 2 the probability 0; teacher 1, of weight 0, is sure of class 2."""
    targets_KBC = torch.tensor([[[0.0, 0.0, -1e4]], [[0.0, 0.0, 50.0]]]).double()
    logits_BC, u_BC = torch.tensor([[0.1, -0.3, 0.2]]).double(), torch.tensor([[0.5, -1.0, 2.0]]).double()
    weights_BK = torch.tensor([[1.0, 0.0]]).double()

    def share(student_BC: Tensor, w_BK: Tensor) -> Tensor:
        return SoftenedKL(1.0).per_example(student_BC, targets_KBC, w_BK).sum()

    batch = Batch(np.arange(1), torch.zeros(1), {}, 0, 0, 1)
    at: Any = None
    got = influence(Stepping(batch, weights_BK, logits_BC, torch.float64, at, share, u_BC), u_BC)
    p_KC = torch.softmax(targets_KBC[:, 0], -1)
    # ∂L/∂z_S = p_S Σ_c q_c − q
    wanted = ((torch.softmax(logits_BC, -1) - p_KC) * u_BC).sum(-1)
    torch.testing.assert_close(got[0], wanted, rtol=1e-12, atol=0)


def enumerated(logits_BK: Tensor) -> Tensor:
    """E[w] by going through all 2^K choices."""
    teachers = logits_BK.shape[1]
    expected = torch.zeros_like(logits_BK)
    for choice in product((0.0, 1.0), repeat=teachers):
        actions_BK = torch.tensor(choice, dtype=logits_BK.dtype).expand_as(logits_BK)
        chance_B1 = policy.log_likelihood(logits_BK, actions_BK).exp().unsqueeze(-1)
        expected = expected + chance_B1 * policy.blend(actions_BK, logits_BK)
    return expected


@pytest.mark.parametrize("teachers", range(1, 9))
def test_expected_weights_are_those_of_an_enumeration(teachers: int) -> None:
    torch.manual_seed(teachers)
    logits_BK = 3 * torch.randn(7, teachers, dtype=torch.float64)
    logits_BK[0] = -40.0 - torch.arange(teachers)  # nobody is chosen: the first has all
    logits_BK[1] = 40.0
    got = policy.expected_weights(logits_BK)
    torch.testing.assert_close(got, enumerated(logits_BK), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(got.sum(-1), torch.ones(7, dtype=torch.float64))
    assert got[0, 0] == pytest.approx(1, abs=1e-12)
    r_BK = torch.randn(7, teachers, dtype=torch.float64)
    slopes = [
        torch.autograd.grad((expected(at) * r_BK).sum(), at)[0]
        for expected in (policy.expected_weights, enumerated)
        for at in [logits_BK.clone().requires_grad_()]
    ]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-13)


def test_choices_are_rewarded_beyond_their_expectation() -> None:
    torch.manual_seed(0)
    logits_BK, r_BK = torch.randn(1, 3).double(), torch.randn(1, 3).double()
    mean, chances = 0.0, 0.0
    for choice in product((0.0, 1.0), repeat=3):
        actions_BK = torch.tensor([choice]).double()
        chance = policy.log_likelihood(logits_BK, actions_BK).exp().item()
        reward_B, gain_B = of_choices(r_BK, actions_BK, logits_BK)
        assert reward_B.item() == pytest.approx((policy.blend(actions_BK, logits_BK) * r_BK).sum().item())
        mean, chances = mean + chance * gain_B.item(), chances + chance
    assert chances == pytest.approx(1)
    assert mean == pytest.approx(0, abs=1e-14)

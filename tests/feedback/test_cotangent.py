"""The teacher's gradient by cotangents, against double backward and against differences of the quiz loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from one_round import (
    ALPHA,
    DERIVATIVE,
    LR,
    QUIZ_ROWS,
    UNEQUAL,
    WHOLE,
    Round,
    alone,
    by_cotangents,
    double_backward,
    flat,
    gap,
    teacher_backward,
)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from raykd.feedback.cotangent import (
    Micro,
    Outputs,
    Params,
    Reduce,
    Route,
    adam_preconditioned,
    central_differences,
    centred,
    choose_route,
    cotangents,
    derivative,
    forward_mode,
    one_sided_differences,
    outputs_at,
    pilot,
    quiz_gradient,
)
from raykd.objective import Objective
from raykd.objective.dist import CorrelationLoss
from raykd.objective.dkd import DecoupledKD
from raykd.objective.soft import MeanSquaredError, SoftenedKL

T = TypeVar("T")
EXACT: dict[Route, float] = {"forward": 1e-9, "central": 1e-5, "one_sided": 1e-5}
ROUTES: list[Route] = ["forward", "central", "one_sided"]
SOFT: dict[str, tuple[Objective, tuple[int, ...]]] = {
    "kl": (SoftenedKL(2.0), (1, 2, 5)),
    "mse": (MeanSquaredError(), (1, 2, 5)),
    "dkd": (DecoupledKD(2.0, 1.0, 8.0), (3, 5)),
    "dist": (CorrelationLoss(1.5, 2.0, 3.0), (2, 5)),
}
"""The soft losses, and the numbers of classes that they are for."""
CASES = [pytest.param(soft, classes, id=f"{name}-{classes}") for name, (soft, ns) in SOFT.items() for classes in ns]


@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize(("soft", "classes"), CASES)
def test_the_meta_gradient(soft: Objective, classes: int, teachers: int) -> None:
    round_ = Round(soft, classes, teachers)
    expected = double_backward(round_)
    for route in ROUTES:
        assert gap(by_cotangents(round_, route), expected) < EXACT[route]


@pytest.mark.parametrize(("soft", "classes"), CASES)
def test_against_differences_of_the_quiz_loss(soft: Objective, classes: int) -> None:
    round_ = Round(soft, classes, teachers=3)
    gradient = by_cotangents(round_, "forward")
    parameters = round_.teacher_parameters()

    def quiz_after_pilot() -> float:
        phi, _ = pilot(round_.theta, round_.micros(WHOLE), LR, alone)
        with torch.no_grad():
            return round_.quiz_loss(phi).item()

    for seed in range(3):
        direction = torch.randn(gradient.shape, dtype=gradient.dtype, generator=torch.Generator().manual_seed(seed))
        # A random direction alone is nearly orthogonal to the gradient; half of this one lies along it.
        direction = direction / direction.norm() + gradient / gradient.norm()
        pieces = direction.split([p.numel() for p in parameters])
        values = []
        for step in (1e-3, -1e-3):
            with torch.no_grad():
                for p, piece in zip(parameters, pieces, strict=True):
                    p += step * piece.view_as(p)
                values.append(quiz_after_pilot())
                for p, piece in zip(parameters, pieces, strict=True):
                    p -= step * piece.view_as(p)
        measured = (values[0] - values[1]) / 2e-3
        assert measured == pytest.approx((gradient @ direction).item(), rel=1e-4)


@pytest.mark.parametrize("route", ROUTES)
def test_dropout_replays_the_masks_of_the_pilot(route: Route) -> None:
    round_ = Round(SoftenedKL(2.0), dropout=0.2)
    expected = double_backward(round_)
    assert gap(by_cotangents(round_, route), expected) < EXACT[route]
    assert gap(double_backward(Round(SoftenedKL(2.0))), expected) > 0.1  # the masks matter


@pytest.mark.parametrize("route", ROUTES)
def test_matched_features_have_cotangents_of_their_own(route: Route) -> None:
    round_ = Round(SoftenedKL(2.0), classes=3, teachers=2, dropout=0.1, features=True)
    assert gap(by_cotangents(round_, route, UNEQUAL), double_backward(round_, UNEQUAL)) < EXACT[route]
    without = Round(SoftenedKL(2.0), classes=3, teachers=2, dropout=0.1)
    assert gap(double_backward(without, UNEQUAL), double_backward(round_, UNEQUAL)) > 0.1


def all_reduced(parts: list[Callable[[Reduce], T]]) -> list[T]:
    """Each worker's `part`, run once to hear what it sends and once more with the sum over all of them."""
    sent: list[list[Tensor]] = []

    def hear(gradients: list[Tensor]) -> list[Tensor]:
        sent.append(gradients)
        return gradients

    for part in parts:
        part(hear)
    totals = [torch.stack(gradients).sum(0) for gradients in zip(*sent, strict=True)]
    return [part(lambda _: totals) for part in parts]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_workers_on_unequal_shards_are_one_worker_on_the_whole(dropout: float) -> None:
    round_ = Round(SoftenedKL(2.0), classes=3, teachers=2, dropout=dropout)
    theta, shards = round_.theta, round_.micros(UNEQUAL)
    quiz_shards = [slice(0, 3), slice(3, QUIZ_ROWS)]
    steps = all_reduced([partial(pilot, theta, [micro], LR) for micro in shards])
    quizzes = all_reduced(
        [
            partial(quiz_gradient, phi, partial(round_.quiz_loss, rows=rows))
            for (phi, _), rows in zip(steps, quiz_shards, strict=True)
        ]
    )
    sent = [
        cotangents(micro, at[0], forward_mode(theta, v, micro))
        for micro, (_, at), (v, _) in zip(shards, steps, quizzes, strict=True)
    ]
    got = teacher_backward(round_, UNEQUAL, sent)
    # One worker with two micro-batches, and, where no mask depends on the cut, one worker on the whole batch.
    assert gap(got, by_cotangents(round_, "forward", UNEQUAL)) < 1e-9
    assert gap(got, double_backward(round_, UNEQUAL)) < 1e-9
    if dropout == 0:
        assert gap(got, by_cotangents(round_, "forward")) < 1e-9
    whole_quiz = round_.quiz_loss(steps[0][0]).item()
    assert sum(loss.item() for _, loss in quizzes) == pytest.approx(whole_quiz)


def test_a_worker_without_rows_sends_zeros() -> None:
    round_ = Round(SoftenedKL(2.0))
    phi, outputs = pilot(round_.theta, [], LR, alone)
    assert outputs == []
    assert all(torch.equal(phi[name], p) for name, p in round_.theta.items())
    v, loss = quiz_gradient(phi, lambda params: torch.zeros(()), alone)
    assert loss.item() == 0
    assert all(not tensor.any() for tensor in v.values())


def test_the_closed_form_of_the_softened_kl() -> None:
    torch.manual_seed(0)
    student_BC, u_BC = torch.randn(2, 6, 4, dtype=torch.float64)
    teachers_KBC = torch.randn(3, 6, 4, dtype=torch.float64)
    weights_BK = torch.rand(6, 3, dtype=torch.float64)
    weights_BK[0, 0] = 0.0
    weights_BK /= weights_BK.sum(1, keepdim=True)
    tau, soft = 3.0, SoftenedKL(3.0)

    def loss(student: Outputs, teachers: Outputs) -> Tensor:
        return ALPHA * soft.per_example(student[0], teachers[0], weights_BK).mean()

    (c_KBC,) = cotangents(Micro(lambda params: (), loss, (teachers_KBC,)), (student_BC,), (u_BC,))
    p_KBC = F.softmax(teachers_KBC / tau, -1)
    centred_KBC = u_BC - (p_KBC * u_BC).sum(-1, keepdim=True)
    expected = ALPHA / 6 * weights_BK.T.unsqueeze(-1) * p_KBC * centred_KBC
    torch.testing.assert_close(c_KBC, expected, rtol=1e-12, atol=1e-15)
    assert not c_KBC[0, 0].any()  # a teacher that was not heard learns nothing from the row


def test_a_loss_without_teachers_gives_zeros_and_half_precision_is_lifted() -> None:
    student_BC = torch.randn(3, 2)

    def loss(student: Outputs, teachers: Outputs) -> Tensor:
        return F.cross_entropy(student[0], torch.tensor([0, 1, 1]))

    micro = Micro(lambda params: (), loss, (torch.randn(1, 3, 2, dtype=torch.float16), torch.randn(3, 4)))
    c_logits, c_feature = cotangents(micro, (student_BC,), (torch.ones(3, 2),))
    assert (c_logits.shape, c_logits.dtype, c_feature.shape) == ((1, 3, 2), torch.float32, (3, 4))
    assert not c_logits.any()
    assert not c_feature.any()


@pytest.mark.parametrize("route", ROUTES)
def test_a_round_leaves_no_trace(route: Route) -> None:
    round_ = Round(SoftenedKL(2.0), dropout=0.2, dtype=torch.float32)
    plain = by_cotangents(round_, route)
    for k, p in enumerate(round_.student.parameters()):
        p.grad = torch.full_like(p, k)
    state = {name: tensor.clone() for name, tensor in round_.student.state_dict().items()}
    buffers = {name: tensor.clone() for name, tensor in round_.student.named_buffers()}  # not all in the state
    torch.manual_seed(7)  # no seed of a forward, whose end would look like this state kept
    rng = torch.random.get_rng_state()
    micros, theta = round_.micros(WHOLE), round_.theta
    with torch.autocast("cpu", torch.bfloat16):
        phi, at_theta = pilot(theta, micros, LR, alone, route)
        v, loss = quiz_gradient(phi, round_.quiz_loss, alone)
        sent = cotangents(micros[0], at_theta[0], DERIVATIVE[route](theta, v, micros[0], at_theta[0]))
    assert torch.equal(teacher_backward(round_, WHOLE, [sent]), plain)  # autocast was off inside
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert all(torch.equal(tensor, state[name]) for name, tensor in round_.student.state_dict().items())
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in round_.student.named_buffers())
    assert all(p.grad is not None and bool((p.grad == k).all()) for k, p in enumerate(round_.student.parameters()))
    assert all(p.requires_grad for p in round_.student.parameters())
    made = [*phi.values(), *v.values(), *at_theta[0], *sent, loss]
    assert not any(tensor.requires_grad for tensor in made)
    own = {p.data_ptr() for p in round_.student.parameters()}
    assert not own & {tensor.data_ptr() for tensor in phi.values()}


def test_float32_routes() -> None:
    round_ = Round(SoftenedKL(2.0), classes=3, teachers=2, dropout=0.1, dtype=torch.float32)
    expected = double_backward(round_)
    within: dict[Route, float] = {"forward": 1e-5, "central": 1e-3, "one_sided": 5e-3}
    for route, bound in within.items():
        assert gap(by_cotangents(round_, route, take=partial(derivative, route)), expected) < bound


@pytest.mark.parametrize(("route", "order"), [("one_sided", 1), ("central", 2)])
def test_the_order_of_the_differences(route: Route, order: int) -> None:
    round_ = Round(SoftenedKL(2.0), classes=5, teachers=3)
    expected = double_backward(round_)

    def take(theta: Params, v: Params, micro: Micro, at: Outputs, step: float) -> Outputs:
        if route == "central":
            return central_differences(theta, v, micro, step)
        return one_sided_differences(theta, v, micro, at, step)

    coarse, fine = (gap(by_cotangents(round_, route, take=partial(take, step=step)), expected) for step in (1e-2, 1e-3))
    assert coarse / fine == pytest.approx(10**order, rel=0.05)


def test_no_v_is_too_small() -> None:
    round_ = Round(SoftenedKL(2.0), dtype=torch.float32)
    (micro,), theta = round_.micros(WHOLE), round_.theta
    generator = torch.Generator().manual_seed(3)
    v = {name: torch.randn(p.shape, generator=generator) for name, p in theta.items()}
    tiny = {name: tensor * 2.0**-90 for name, tensor in v.items()}
    zero = {name: torch.zeros_like(tensor) for name, tensor in v.items()}
    at = outputs_at(theta, micro)
    for route in ROUTES:
        (u_BC,), (tiny_BC,), (none_BC,) = (derivative(route, theta, along, micro, at) for along in (v, tiny, zero))
        assert gap(tiny_BC * 2.0**90, u_BC) < 1e-3
        assert none_BC.shape == u_BC.shape
        assert not none_BC.any()
        (c_KBC,) = cotangents(micro, at, (none_BC,))
        assert not c_KBC.any()


@pytest.mark.parametrize("route", ROUTES)
def test_an_exam_after_a_real_sgd_step(route: Route) -> None:
    round_ = Round(SoftenedKL(2.0), classes=3, dropout=0.2)
    expected = double_backward(round_)
    (micro,), kept = round_.micros(WHOLE), {name: p.detach().clone() for name, p in round_.theta.items()}
    optimizer = torch.optim.SGD(round_.student.parameters(), LR)
    micro.loss(micro.forward(round_.theta), micro.served).backward()
    optimizer.step()
    v, _ = quiz_gradient(round_.theta, round_.quiz_loss, alone)
    at = outputs_at(kept, micro, route)
    c = cotangents(micro, at, DERIVATIVE[route](kept, v, micro, at))
    assert gap(teacher_backward(round_, WHOLE, [c]), expected) < EXACT[route]


def test_an_exam_after_an_adamw_step_takes_the_surrogate() -> None:
    round_ = Round(SoftenedKL(2.0), classes=3, dropout=0.2)
    (micro,), kept = round_.micros(WHOLE), {name: p.detach().clone() for name, p in round_.theta.items()}
    eps, beta = 1e-3, 0.999
    optimizer = torch.optim.AdamW(round_.student.parameters(), 1e-3, betas=(0.9, beta), eps=eps)
    for _ in range(3):
        optimizer.zero_grad()
        micro.loss(micro.forward(round_.theta), micro.served).backward()
        kept = {name: p.detach().clone() for name, p in round_.theta.items()}
        optimizer.step()
    reached = {
        name: torch.zeros_like(p, dtype=torch.bool) if p.grad is None else p.grad != 0
        for name, p in round_.theta.items()
    }
    second = {name: optimizer.state[p]["exp_avg_sq"] / (1 - beta**3) for name, p in round_.theta.items()}
    v, _ = quiz_gradient(round_.theta, round_.quiz_loss, alone)
    scaled = adam_preconditioned(v, second, eps, reached)
    c = cotangents(micro, outputs_at(kept, micro), forward_mode(kept, scaled, micro))
    got = teacher_backward(round_, WHOLE, [c])

    # The value of θ' with the derivative of −η · P ∇L_S, P held constant, by double backward.
    like, leaves = round_.teacher_parameters(), {name: p.clone().requires_grad_() for name, p in kept.items()}
    with sdpa_kernel(SDPBackend.MATH):
        loss = round_.loss(WHOLE[0], round_.forward(WHOLE[0], leaves), round_.taught(WHOLE[0]))
        found = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        stepped = {
            name: p.detach() - LR * (g - g.detach()) / (second[name].sqrt() + eps)
            for (name, p), g in zip(round_.theta.items(), found, strict=True)
        }
        expected = flat(torch.autograd.grad(round_.quiz_loss(stepped), like, allow_unused=True), like)
    assert gap(got, expected) < 1e-9


def test_the_preconditioner() -> None:
    v = {"a": torch.tensor([2.5, -1.0, 3.0]), "b": torch.tensor(2.0)}
    moments = {"a": torch.tensor([4.0, 0.25, 0.0]), "b": torch.tensor(0.0), "elsewhere": torch.tensor(1.0)}
    reached = {"a": torch.tensor([True, True, False]), "b": torch.tensor(True), "elsewhere": torch.tensor(True)}
    got = adam_preconditioned(v, moments, 0.5, reached)
    assert got["a"].tolist() == [1.0, -1.0, 0.0]
    assert got["b"].item() == 4.0
    assert list(got) == ["a", "b"]


def test_the_choice_of_route() -> None:
    cpu = torch.device("cpu")
    assert choose_route("auto", torch.float32, cpu)[0] == "one_sided"
    assert choose_route("auto", torch.float32, torch.device("cuda"))[0] == "central"
    assert choose_route("auto", torch.float64, cpu)[0] == "forward"
    assert choose_route("forward", torch.float32, cpu) == ("forward", "forward asked for")
    assert choose_route("central", torch.float64, cpu) == ("central", "central asked for")


def test_centred_derivatives_have_no_common_part_however_they_are_shared_out() -> None:
    u_BC = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 5
    like, wanted = u_BC.new_zeros(3), u_BC - u_BC.mean(0)
    (whole,) = centred([u_BC], like, 7, lambda sums: sums)
    torch.testing.assert_close(whole, wanted)
    shards = [[u_BC[:2], u_BC[2:3]], [u_BC[3:]], []]
    total = u_BC.sum(0)
    parts = [centred(shard, like, 7, lambda sums: [total]) for shard in shards]
    torch.testing.assert_close(torch.cat([u for shard in parts for u in shard]), wanted)
    sent: list[torch.Tensor] = []
    for shard in shards:
        centred(shard, like, 7, lambda sums: sent.append(sums[0]) or sums)  # type: ignore[func-returns-value]
    torch.testing.assert_close(sum(sent, start=like), total)

"""MetaDistil's own part of a step, without Ray: the roll-back and its ablation; the cotangent of a regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from one_round import bert, tokens
from recording_teachers import QuizRows, RecordingTeachers
from tiny import Configure
from torch import Tensor
from torch.func import functional_call

from raykd.config import CotangentFeedbackConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback import FeedbackContext, MetaDistil, QuizLoss, Round
from raykd.training.job import WorkerContext

ALPHA, PILOT, ROWS, TEACHERS = 0.6, 0.1, 6, 2
Named = dict[str, Tensor]


def squared_errors(logits_BC: Tensor, targets_KBC: Tensor, weights_BK: Tensor, batch: Batch) -> Tensor:
    blend_B = (weights_BK.T * targets_KBC[:, :, 0]).sum(0)
    soft_B, hard_B = (logits_BC[:, 0] - blend_B) ** 2, (logits_BC[:, 0] - batch.labels_B) ** 2
    return (ALPHA * soft_B + (1 - ALPHA) * hard_B).sum() / batch.global_rows


class Pilot:
    """A round of feedback on a regression: a tiny float64 student without dropout, two teachers."""

    def __init__(self, configure: Configure, *overrides: str) -> None:
        settings = configure("feedback.type=metadistil", f"feedback.pilot_lr={PILOT}", *overrides).feedback
        assert isinstance(settings, CotangentFeedbackConfig)
        torch.manual_seed(50)
        self.quiz = QuizRows([(tokens(5), torch.randn(5, dtype=torch.float64)) for _ in range(2)])
        self.teachers = RecordingTeachers({0: "first", 1: "second"})
        self.teachers.fresh_KNC = np.random.default_rng(0).normal(size=(TEACHERS, ROWS, 1))
        sampler: Any = self.quiz
        teachers: Any = self.teachers
        anything: Any = None
        task = Task("regression", "pearson")
        context = FeedbackContext(
            settings=settings, teachers=teachers, loss=squared_errors, quiz_loss=QuizLoss(task, sampler), task=task,
            validation=anything, worker=WorkerContext(0, 1, torch.device("cpu"), 1), dtype=torch.float64,
            autocast=False, seed=0, lr=1e-3, steps_per_epoch=10, log=None,
        )  # fmt: skip
        self.feedback = MetaDistil(context)
        self.model = bert(1, seed=0).train()
        self.batch = Batch(np.arange(ROWS), torch.randn(ROWS, dtype=torch.float64), tokens(ROWS), 3, 0, ROWS)
        self.weights_BK = torch.rand(ROWS, TEACHERS, dtype=torch.float64).softmax(-1)
        self.targets_KBC = torch.randn(TEACHERS, ROWS, 1, dtype=torch.float64)
        self.theta = self.parameters()
        self.round = Round(3, self.model, [self.batch], [self.weights_BK], [self.targets_KBC])
        (self.fresh_KBC,) = self.feedback.before(self.round)

    def parameters(self) -> Named:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def logits(self, at: Named) -> Tensor:
        logits_BC: Tensor = functional_call(self.model, at, (), self.batch.encoded).logits
        return logits_BC

    def piloted(self) -> Named:
        """φ = θ − η∇L_S(θ)."""
        leaves = {name: value.clone().requires_grad_() for name, value in self.theta.items()}
        loss = squared_errors(self.logits(leaves), self.targets_KBC, self.weights_BK, self.batch)
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        return {name: value - PILOT * g for (name, value), g in zip(self.theta.items(), slopes, strict=True)}

    def along(self, draw: int, at: Named | None = None) -> Tensor:
        """u [B, 1]: the student's outputs at θ along v = ∇ℓ, at φ where no other parameters are given, by central
        differences; ℓ is a mean squared error."""
        encoded, labels_B = self.quiz.drawn[draw]
        leaves = {name: value.clone().requires_grad_() for name, value in (at or self.piloted()).items()}
        quiz = (functional_call(self.model, leaves, (), encoded).logits[:, 0] - labels_B).square().mean()
        v = dict(zip(leaves, torch.autograd.grad(quiz, list(leaves.values())), strict=True))
        ahead, behind = ({name: p + sign * 1e-5 * v[name] for name, p in self.theta.items()} for sign in (1, -1))
        with torch.no_grad():
            return (self.logits(ahead) - self.logits(behind)) / 2e-5


@pytest.mark.parametrize(("route", "bound"), [("forward", 1e-6), ("central", 1e-3), ("one_sided", 1e-2)])
def test_a_regressions_cotangent_is_its_closed_form(configure: Configure, route: str, bound: float) -> None:
    """∂L_S/∂z_S = 2/B (z_S − α Σ_k w_k z_k − (1 − α) y), so that c_k = −∂/∂z_k ⟨∂L_S/∂z_S, u⟩ = 2 α w_k u / B."""
    pilot = Pilot(configure, f"feedback.route={route}", "feedback.measure_every=1")
    (messages,) = pilot.teachers.messages.values()
    for draw in (0, 1):
        wanted_KB1 = (2 * ALPHA / ROWS * pilot.weights_BK.T.unsqueeze(-1) * pilot.along(draw)).numpy()
        for k, message in messages.items():
            sent = message.second if draw else message.cotangent
            assert sent is not None
            assert np.linalg.norm(sent - wanted_KB1[k]) < bound * np.linalg.norm(wanted_KB1[k])


def test_after_the_roll_back_the_student_is_where_it_was(configure: Configure) -> None:
    """And its step is on what the teachers answer once they have learnt, from the pilot's own forward pass."""
    pilot = Pilot(configure, "feedback.route=forward")
    assert all(torch.equal(value, pilot.theta[name]) for name, value in pilot.parameters().items())
    assert pilot.teachers.fresh_KNC is not None
    assert np.array_equal(pilot.fresh_KBC.numpy(), pilot.teachers.fresh_KNC)
    logits_BC = pilot.feedback.logits(pilot.batch)
    assert logits_BC is not None
    torch.testing.assert_close(logits_BC.detach(), pilot.logits(pilot.theta).detach(), rtol=1e-12, atol=1e-12)


def test_without_the_roll_back_the_teachers_learn_after_the_step_that_is_kept(configure: Configure) -> None:
    """c_k = 2 α w_k u / B in float64, u along ∇ℓ at the parameters after AdamW's step and taken at those before."""
    pilot = Pilot(configure, "feedback.route=forward", "feedback.rollback=false", "feedback.pilot_lr=null")
    assert pilot.fresh_KBC is pilot.targets_KBC  # the teachers as they are
    assert pilot.teachers.messages == {}
    assert all(torch.equal(value, pilot.theta[name]) for name, value in pilot.parameters().items())
    optimizer = torch.optim.AdamW(pilot.model.parameters(), lr=0.03)
    leaves = dict(pilot.model.named_parameters())
    squared_errors(pilot.logits(leaves), pilot.targets_KBC, pilot.weights_BK, pilot.batch).backward()
    pilot.feedback.gradient_summed(pilot.round)
    optimizer.step()
    stepped = pilot.parameters()
    pilot.feedback.after(pilot.round, optimizer)
    assert all(torch.equal(value, stepped[name]) for name, value in pilot.parameters().items())
    assert pilot.feedback.logits(pilot.batch) is None
    assert pilot.teachers.steps == [True]
    (messages,) = pilot.teachers.messages.values()
    for draw in (0, 1):
        wanted_KB1 = (2 * ALPHA / ROWS * pilot.weights_BK.T.unsqueeze(-1) * pilot.along(draw, stepped)).numpy()
        elsewhere_KB1 = (2 * ALPHA / ROWS * pilot.weights_BK.T.unsqueeze(-1) * pilot.along(draw, pilot.theta)).numpy()
        for k, message in messages.items():
            sent = message.second if draw else message.cotangent
            assert sent is not None
            assert np.linalg.norm(sent - wanted_KB1[k]) < 1e-6 * np.linalg.norm(wanted_KB1[k])
            assert np.linalg.norm(sent - elsewhere_KB1[k]) > 0.01 * np.linalg.norm(wanted_KB1[k])

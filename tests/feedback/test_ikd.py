"""IKD's own part of a step, without Ray: what it keeps, Adam's surrogate, u at the kept θ, v at θ′."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from one_round import bert, tokens
from recording_teachers import QuizRows, RecordingTeachers
from tiny import Configure
from torch import Tensor
from torch.func import functional_call

from raykd.config import CotangentFeedbackConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback import IKD, FeedbackContext, QuizLoss, Round
from raykd.training.job import WorkerContext

TASK = Task("classification", "accuracy", ("negative", "positive"))
SEED, ALPHA, TAU, TEACHERS = 5, 0.6, 2.0, 2
BETA2, EPS = 0.99, 1e-4
SIZES = (4, 3)
"""Rows of the micro-batches."""
GLOBAL_ROWS = sum(SIZES)
STEPS = 3
"""Course steps, of which the last has feedback: moments are then neither empty nor settled."""
Named = dict[str, Tensor]


def student_loss(logits_BC: Tensor, targets_KBC: Tensor, weights_BK: Tensor, batch: Batch) -> Tensor:
    q_BC = torch.einsum("bk,kbc->bc", weights_BK, F.softmax(targets_KBC / TAU, -1))
    soft = TAU**2 * F.kl_div(F.log_softmax(logits_BC / TAU, -1), q_BC, reduction="sum")
    hard = F.cross_entropy(logits_BC, batch.labels_B, reduction="sum")
    return (ALPHA * soft + (1 - ALPHA) * hard) / batch.global_rows


class Course:
    """Three AdamW steps of a tiny float64 student with dropout, IKD around each, and what happened written down."""

    def __init__(self, configure: Configure, *overrides: str) -> None:
        settings = configure("feedback.type=ikd", "feedback.route=forward", *overrides).feedback
        assert isinstance(settings, CotangentFeedbackConfig)
        torch.manual_seed(20)
        self.teachers = RecordingTeachers({0: "first", 1: "second"})
        self.quiz = QuizRows([(tokens(5), torch.randint(2, (5,))) for _ in range(2)])
        anything: Any = None  # neither validation rows nor a log are asked for here
        sampler: Any = self.quiz
        teachers: Any = self.teachers
        context = FeedbackContext(
            settings=settings, teachers=teachers, loss=student_loss, quiz_loss=QuizLoss(TASK, sampler), task=TASK,
            validation=anything, worker=WorkerContext(0, 1, torch.device("cpu"), 1), dtype=torch.float64,
            autocast=False, seed=SEED, lr=1e-3, steps_per_epoch=10, log=None,
        )  # fmt: skip
        self.ikd = IKD(context)
        self.model = bert(2, seed=0, dropout=0.2).train()
        vectors = [p for p in self.model.parameters() if p.ndim == 1]
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, BETA2), eps=EPS)
        self.gradients: list[Named] = []
        self.rounds = [self._round(step) for step in range(STEPS)]
        for round_ in self.rounds:
            self.before = self._parameters()
            assert self.ikd.before(round_) is round_.targets  # the course step uses the teachers as they are
            self._step(round_)
            self.ikd.after(round_, self.optimizer)
        self.after = self._parameters()

    def _round(self, step: int) -> Round:
        torch.manual_seed(30 + step)
        batches = [
            Batch(np.arange(rows), torch.randint(2, (rows,)), tokens(rows), step, micro, GLOBAL_ROWS)
            for micro, rows in enumerate(SIZES)
        ]
        weights = [torch.rand(rows, TEACHERS, dtype=torch.float64).softmax(-1) for rows in SIZES]
        targets = [2 * torch.randn(TEACHERS, rows, 2, dtype=torch.float64) for rows in SIZES]
        return Round(step, self.model, batches, weights, targets)

    def _step(self, round_: Round) -> None:
        for k, batch in enumerate(round_.batches):
            logits_BC = student_logits(self.model, None, batch, self.ikd)
            student_loss(logits_BC, round_.targets[k], round_.weights[k], batch).backward()
        self.gradients.append(
            {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in self._named()}
        )
        self.ikd.gradient_summed(round_)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _named(self) -> list[tuple[str, Tensor]]:
        return list(self.model.named_parameters())

    def _parameters(self) -> Named:
        return {name: p.detach().clone() for name, p in self._named()}

    def second_moments(self, corrected: bool = True) -> Named:
        """Σ_i (1 − β₂) β₂^(t − i) g_i², over 1 − β₂ᵗ, of the gradients as they came."""
        scale = 1 - BETA2**STEPS if corrected else 1.0
        shares = [(1 - BETA2) * BETA2 ** (STEPS - 1 - i) / scale for i in range(STEPS)]
        return {
            name: torch.stack([w * g[name] ** 2 for w, g in zip(shares, self.gradients, strict=True)]).sum(0)
            for name in self.gradients[0]
        }

    def quiz_gradient(self, at: Named, draw: int) -> Named:
        """∇ℓ at these parameters, dropout off."""
        encoded, labels_B = self.quiz.drawn[draw]
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        self.model.eval()
        loss = F.cross_entropy(functional_call(self.model, leaves, (), encoded).logits, labels_B)
        self.model.train()
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), gradients, strict=True)}

    def expected(
        self, micro: int, draw: int = 0, at: Named | None = None, moments: Named | None = None, seed: int = SEED
    ) -> np.ndarray:
        """c = −∂/∂z_T ⟨∇L_S(θ; z_T), P v⟩ by central differences in every entry of z_T, float64 [K, B, C]."""
        at, moments = at or self.before, moments or self.second_moments()
        v = self.quiz_gradient(self.after, draw)
        direction = {name: v[name] / (moments[name].sqrt() + EPS) for name in v}
        round_ = self.rounds[-1]
        batch, weights_BK, targets_KBC = round_.batches[micro], round_.weights[micro], round_.targets[micro]
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        logits_BC = student_logits(self.model, leaves, batch, self.ikd, seed)

        def slope(z_KBC: Tensor) -> float:
            loss = student_loss(logits_BC, z_KBC, weights_BK, batch)
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, retain_graph=True)
            return sum(
                float((g * direction[name]).sum()) for name, g in zip(leaves, gradients, strict=True) if g is not None
            )

        c_KBC = np.zeros(tuple(targets_KBC.shape))
        for place in np.ndindex(c_KBC.shape):
            nudge = torch.zeros_like(targets_KBC)
            nudge[place] = 1e-4
            c_KBC[place] = -(slope(targets_KBC + nudge) - slope(targets_KBC - nudge)) / 2e-4
        return c_KBC


def student_logits(model: Any, parameters: Named | None, batch: Batch, ikd: IKD, seed: int = SEED) -> Tensor:
    """With the masks of this place in the run, drawn by the documented key."""
    key = hashlib.blake2b(f"{seed}/{batch.step}/{batch.micro}/0".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(key, "big"))
    with ikd.kernels():
        out = model(**batch.encoded) if parameters is None else functional_call(model, parameters, (), batch.encoded)
    logits_BC: Tensor = out.logits
    return logits_BC


def distance(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("route", "bound"), [("forward", 1e-6), ("central", 1e-3), ("one_sided", 1e-2)])
def test_the_cotangents_are_differences_through_adams_step(configure: Configure, route: str, bound: float) -> None:
    """Only the last of three steps has feedback; the second draw of a measured round is a quiz of its own."""
    course = Course(configure, f"feedback.route={route}", f"feedback.start={STEPS - 1}", "feedback.measure_every=1")
    assert course.teachers.steps == [True]
    assert list(course.teachers.messages) == [(STEPS - 1, 0, 0), (STEPS - 1, 0, 1)]
    assert course.quiz.asked == [(STEPS - 1, 0), (STEPS - 1, 1)]
    for micro, key in enumerate(course.teachers.messages):
        messages = course.teachers.messages[key]
        assert set(messages) == {0, 1}
        first, second = course.expected(micro, draw=0), course.expected(micro, draw=1)
        for k, message in messages.items():
            assert message.global_rows == GLOBAL_ROWS
            assert message.second is not None
            assert distance(message.cotangent, first[k]) < bound
            assert distance(message.second, second[k]) < bound


def test_theta_masks_and_moments_are_those_of_the_course_step(configure: Configure) -> None:
    """Each stands for itself: with another in its place the cotangents differ by far more than the bound above."""
    course = Course(configure, f"feedback.start={STEPS - 1}")
    sent = np.stack([message.cotangent for message in course.teachers.messages[(STEPS - 1, 0, 0)].values()])
    assert distance(sent, course.expected(0)) < 1e-6
    assert distance(sent, course.expected(0, at=course.after)) > 0.05  # u at θ′
    assert distance(sent, course.expected(0, seed=SEED + 1)) > 0.05  # other masks
    assert distance(sent, course.expected(0, moments=course.second_moments(corrected=False))) > 0.05
    course.after = course.before
    assert distance(sent, course.expected(0)) > 0.05  # v at θ


def test_steps_without_feedback_keep_and_send_nothing(configure: Configure) -> None:
    course = Course(configure, "feedback.start=1", "feedback.every=5")
    assert [key[0] for key in course.teachers.messages] == [1, 1]
    assert course.teachers.steps == [True]
    # A copy of the student is held between `before` and `after` alone.
    assert course.ikd._kept == course.ikd._reached == {}


def test_without_weight_no_quiz_is_asked_and_the_teachers_step_all_the_same(configure: Configure) -> None:
    course = Course(configure, "feedback.weight=0", "feedback.teacher_ce=1", "feedback.measure_every=2")
    assert course.quiz.asked == []
    assert course.teachers.steps == [True, False, True]
    assert len(course.teachers.messages) == STEPS * len(SIZES)
    for messages in course.teachers.messages.values():
        assert all(not message.cotangent.any() and message.second is None for message in messages.values())


def test_a_checkpoint_of_the_tally_is_taken_up(configure: Configure, tmp_path: Path) -> None:
    """Which rounds are measured counts on over a restart."""
    course = Course(configure, "feedback.measure_every=2")
    course.teachers.save = course.teachers.restore = lambda folder: None  # type: ignore[attr-defined]
    course.ikd.save(tmp_path)
    again = IKD(course.ikd.context)
    again.restore(tmp_path)
    assert again.tally == course.ikd.tally
    assert again.tally.rounds == STEPS

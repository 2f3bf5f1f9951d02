"""r1, r2, r3 and influence for a real step of a student, from logits, weights and temperature alone."""

from __future__ import annotations

import copy
import hashlib
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from one_round import bert, tokens
from scipy.special import log_softmax, softmax
from tiny import Configure
from torch import Tensor
from transformers import PreTrainedModel

from raykd import objective
from raykd.config import PolicyConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback.quiz import QuizLoss
from raykd.student.step import DistillLoss, DistillStep
from raykd.training.dropout import DropoutKey
from raykd.training.job import WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting import Stepped, Stepping, Weighting
from raykd.weighting.policy.influence import Influence
from raykd.weighting.policy.reward import Reward

SEED, STEP, ALPHA, TAU, GAMMA = 5, 4, 0.6, 3.0, 0.3
REWARD_ROWS, REWARD_BATCH = 40, 16
CLASSES = Task("classification", "accuracy", ("a", "b", "c"))
TASKS = {"classification": CLASSES, "regression": Task("regression", "pearson")}
WEIGHTS_NK = np.random.default_rng(1).dirichlet([1, 1], size=7)
"""Of two teachers for the seven rows of a step."""


class SplitRows:
    """As an encoder over a reward split: rows by their id, drawn once."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(40)
        self.encoded = tokens(REWARD_ROWS)
        self.gold = labels(task, REWARD_ROWS)
        self.rows = self

    def encode(self, ids: np.ndarray) -> dict[str, Tensor]:
        longest = int(self.lengths(ids).max(initial=0))
        return {name: tensor[ids, :longest] for name, tensor in self.encoded.items()}

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        tokens_B: np.ndarray = self.encoded["attention_mask"][ids].sum(-1).numpy()
        return tokens_B

    def labels(self, ids: np.ndarray) -> np.ndarray:
        return self.gold[ids].numpy()


def labels(task: Task, rows: int) -> Tensor:
    return torch.randn(rows, dtype=torch.float64) if task.classes == 1 else torch.randint(task.classes, (rows,))


class Served:
    """Two teachers' logits, float64."""

    def __init__(self, task: Task) -> None:
        self.logits_KNC = 2 * np.random.default_rng(0).normal(size=(2, 7, task.classes))

    def available(self, ids: np.ndarray) -> int:
        return 2 * len(ids)

    def get(self, ids: np.ndarray) -> np.ndarray:
        return self.logits_KNC[:, ids]


class Rewarded(Weighting):
    """Known weights; asks for the rewards after the step."""

    def __init__(self, reward: Reward | Influence) -> None:
        self.reward = reward
        self.influences: list[Tensor] = []
        self.rewards: list[tuple[Tensor, Tensor]] = []
        self.metric = 0.0

    def weigh(self, batch: Batch, logits_KBC: Tensor, student_BC: Tensor | None = None) -> Tensor:
        return torch.from_numpy(WEIGHTS_NK[batch.ids])

    def observes(self, step: int) -> bool:
        return True

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool) -> None:
        self.reward.begin(model, step, derivative_known)

    def look_ahead(self, model: PreTrainedModel, stepping: Stepping) -> None:
        if isinstance(self.reward, Influence):
            self.influences.append(self.reward.look_ahead(model, stepping))

    def observe(self, model: PreTrainedModel, step: int, stepped: list[Stepped]) -> None:
        if isinstance(self.reward, Influence):
            return
        self.metric = self.reward.metric(model, step)
        self.rewards = [self.reward.rows(micro) for micro in stepped]


def dropout_key(batch: Batch) -> int:
    text = f"{SEED}/{STEP}/{batch.micro}/0".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def with_masks(model: Any, batch: Batch) -> np.ndarray:
    """Logits under the dropout masks of this micro-batch on worker 0, by the documented key."""
    torch.manual_seed(dropout_key(batch))
    with torch.no_grad():
        logits: np.ndarray = model.train()(**batch.encoded).logits.numpy()
    return logits


def hard(task: Task, logits_BC: np.ndarray, gold_B: np.ndarray) -> np.ndarray:
    if task.classes == 1:
        return (logits_BC[:, 0] - gold_B) ** 2
    return -log_softmax(logits_BC, -1)[np.arange(len(gold_B)), gold_B]


def soft(task: Task, logits_BC: np.ndarray, teachers_KBC: np.ndarray, weights_BK: np.ndarray) -> np.ndarray:
    """τ² KL(Σ_k w_k softmax(z_k/τ) ‖ softmax(z_S/τ)), or the squared error against Σ_k w_k z_k."""
    if task.classes == 1:
        return (logits_BC[:, 0] - (weights_BK.T * teachers_KBC[:, :, 0]).sum(0)) ** 2
    q_BC = (weights_BK.T[:, :, None] * softmax(teachers_KBC / TAU, -1)).sum(0)
    return TAU**2 * (q_BC * (np.log(q_BC) - log_softmax(logits_BC / TAU, -1))).sum(-1)


def real_step(
    configure: Configure, which: str, kind: str, batch_size: int = REWARD_BATCH
) -> tuple[Rewarded, Any, Any, list[Batch], Served, SplitRows]:
    """A student of dropout 0.2 before and after a step in two micro-batches, and what was rewarded."""
    task, teachers = TASKS[kind], Served(TASKS[kind])
    split: Any = SplitRows(task)
    worker = WorkerContext(0, 1, torch.device("cpu"), 1)
    sampler = ReplacementSampler("reward", split, np.arange(REWARD_ROWS), batch_size, SEED, worker, at_most_once=True)
    setting = f"{{type: {which}, gamma: {GAMMA}}}" if which == "r3" else which
    config = configure(f"weighting={{type: policy, reward: {setting}}}", f"objective.temperature={TAU}")
    assert isinstance(config.weighting, PolicyConfig)
    made = Reward(config.weighting.reward, task, sampler if which == "r3" else None)
    weighting = Rewarded(Influence(QuizLoss(task, sampler)) if which == "influence" else made)
    distill_loss = DistillLoss(task, ALPHA, objective.build(config.objective))
    targets: Any = teachers
    step = DistillStep(distill_loss, weighting, targets, torch.float64, dropout_key=DropoutKey(0, SEED, torch.float64))
    model = bert(task.classes, seed=0, dropout=0.2).train()
    before = copy.deepcopy(model)
    torch.manual_seed(41)
    batches = [
        Batch(ids, labels(task, len(ids)), tokens(len(ids)), STEP, micro, 7)
        for micro, ids in enumerate((np.arange(4), np.arange(4, 7)))
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    step.begin(model, STEP, batches)
    for batch in batches:
        torch.manual_seed(dropout_key(batch))
        step.loss(model, batch).total.backward()
    optimizer.step()
    step.end(model, optimizer, batches)
    return weighting, before, model, batches, teachers, split


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("which", ["r1", "r2", "r3"])
def test_rewards_of_a_real_step(configure: Configure, which: str, kind: str) -> None:
    weighting, old, model, batches, teachers, split = real_step(configure, which, kind)
    task, share = TASKS[kind], GAMMA if which == "r3" else 1.0
    for batch, (reward_B, gain_B) in zip(batches, weighting.rewards, strict=True):
        old_BC, new_BC, gold_B = with_masks(old, batch), with_masks(model, batch), batch.labels_B.numpy()
        assert np.abs(new_BC - old_BC).max() > 1e-3  # the step moved the student
        plain_B = -hard(task, new_BC, gold_B)
        if which != "r1":
            plain_B = plain_B - soft(task, new_BC, teachers.get(batch.ids), WEIGHTS_NK[batch.ids])
        np.testing.assert_allclose(reward_B, share * plain_B, rtol=1e-9)
        np.testing.assert_allclose(gain_B, share * (plain_B + hard(task, old_BC, gold_B)), rtol=1e-9)
    assert weighting.metric == pytest.approx(metric(which, task, old, model, split), rel=1e-9)


def drawn(rows: int) -> np.ndarray:
    """Rows of the reward split by the documented key, with replacement."""
    key = np.array([SEED, zlib.crc32(f"reward/{STEP}/0".encode())], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).integers(REWARD_ROWS, size=rows)


def metric(which: str, task: Task, old: Any, new: Any, split: SplitRows) -> float:
    """(1 − γ) times the fall of the loss on the same rows; dropout off."""
    if which != "r3":
        return 0.0
    ids = drawn(REWARD_BATCH)
    assert len(set(ids.tolist())) < REWARD_BATCH  # with replacement
    with torch.no_grad():
        before, after = (
            hard(task, model.eval()(**split.encode(ids)).logits.numpy(), split.labels(ids)).mean()
            for model in (old, new)
        )
    return (1 - GAMMA) * float(before - after)


@pytest.mark.parametrize("rows", [REWARD_BATCH, REWARD_ROWS + 1])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_influence_of_a_real_step(configure: Configure, monkeypatch: pytest.MonkeyPatch, kind: str, rows: int) -> None:
    """⟨∇_θ L_S, v⟩ by plain autograd under the step's masks, and how it changes with each weight: L_S is linear in w
    but for a part that no parameter is in, or quadratic (a regression)."""
    monkeypatch.setattr("raykd.weighting.policy.influence.CHUNK", 7)  # the last part of the quiz is a smaller one
    weighting, old, _, batches, teachers, split = real_step(configure, "influence", kind, rows)
    ids = drawn(rows) if rows < REWARD_ROWS else np.arange(REWARD_ROWS)
    logits_BC = old.eval()(**split.encode(ids)).logits
    quiz = task_loss(TASKS[kind], logits_BC, split.gold[ids])
    v = torch.autograd.grad(quiz, list(old.parameters()), allow_unused=True)

    def along_v(batch: Batch, weights_BK: Tensor) -> float:
        torch.manual_seed(dropout_key(batch))
        student_BC = old.train()(**batch.encoded).logits
        targets_KBC = torch.from_numpy(teachers.get(batch.ids))
        if kind == "regression":
            blend_BC = (weights_BK.T.unsqueeze(-1) * targets_KBC).sum(0)
            loss = (student_BC - blend_BC).square().sum()
        else:
            q_BC = (weights_BK.T.unsqueeze(-1) * torch.softmax(targets_KBC / TAU, -1)).sum(0)
            loss = -(TAU**2) * (q_BC * torch.log_softmax(student_BC / TAU, -1)).sum()
        gradients = torch.autograd.grad(ALPHA * loss / 7, list(old.parameters()), allow_unused=True)
        return sum(float((g * d).sum()) for g, d in zip(gradients, v, strict=True) if g is not None and d is not None)

    for batch, got_BK in zip(batches, weighting.influences, strict=True):
        for i, k in np.ndindex(*got_BK.shape):
            nudge_BK = torch.zeros(got_BK.shape, dtype=torch.float64)
            nudge_BK[i, k] = 0.1
            start_BK = torch.from_numpy(WEIGHTS_NK[batch.ids])
            wanted = (along_v(batch, start_BK + nudge_BK) - along_v(batch, start_BK - nudge_BK)) / 0.2
            assert got_BK[i, k].item() == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def task_loss(task: Task, logits_BC: Tensor, gold_B: Tensor) -> Tensor:
    if task.classes == 1:
        return (logits_BC[:, 0] - gold_B).square().mean()
    return torch.nn.functional.cross_entropy(logits_BC, gold_B)

"""r1, r2 and r3 of the policy's reward in numpy, from logits, weights and temperature, for a real step of a student."""

from __future__ import annotations

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
from raykd.student.step import DistillLoss, DistillStep, DropoutKey
from raykd.training.job import WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting import Stepped, Weighting
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
        return {name: tensor[ids] for name, tensor in self.encoded.items()}

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

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.rewards: list[tuple[Tensor, Tensor]] = []
        self.metric = 0.0

    def weigh(self, batch: Batch, logits_KBC: Tensor, student_BC: Tensor | None = None) -> Tensor:
        return torch.from_numpy(WEIGHTS_NK[batch.ids])

    def observes(self, step: int) -> bool:
        return True

    def observe(self, model: PreTrainedModel, step: int, stepped: list[Stepped]) -> None:
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


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("which", ["r1", "r2", "r3"])
def test_rewards_of_a_real_step(configure: Configure, which: str, kind: str) -> None:
    task, teachers = TASKS[kind], Served(TASKS[kind])
    split: Any = SplitRows(task)
    worker = WorkerContext(0, 1, torch.device("cpu"), 1)
    sampler = ReplacementSampler("reward", split, np.arange(REWARD_ROWS), REWARD_BATCH, SEED, worker)
    setting = f"{{type: {which}, gamma: {GAMMA}}}" if which == "r3" else which
    config = configure(f"weighting={{type: policy, reward: {setting}}}", f"objective.temperature={TAU}")
    assert isinstance(config.weighting, PolicyConfig)
    weighting = Rewarded(Reward(config.weighting.reward, task, sampler))
    distill_loss = DistillLoss(task, ALPHA, objective.build(config.objective))
    targets: Any = teachers
    step = DistillStep(distill_loss, weighting, targets, torch.float64, dropout_key=DropoutKey(0, SEED, torch.float64))
    model = bert(task.classes, seed=0, dropout=0.2).train()
    torch.manual_seed(41)
    batches = [
        Batch(ids, labels(task, len(ids)), tokens(len(ids)), STEP, micro, 7)
        for micro, ids in enumerate((np.arange(4), np.arange(4, 7)))
    ]
    before = [with_masks(model, batch) for batch in batches]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    step.begin(model, STEP, batches)
    for batch in batches:
        torch.manual_seed(dropout_key(batch))
        step.loss(model, batch).total.backward()
    optimizer.step()
    step.end(model, optimizer, batches)

    share = GAMMA if which == "r3" else 1.0
    for batch, old_BC, (reward_B, gain_B) in zip(batches, before, weighting.rewards, strict=True):
        new_BC, gold_B = with_masks(model, batch), batch.labels_B.numpy()
        assert np.abs(new_BC - old_BC).max() > 1e-3  # the step moved the student
        plain_B = -hard(task, new_BC, gold_B)
        if which != "r1":
            plain_B = plain_B - soft(task, new_BC, teachers.get(batch.ids), WEIGHTS_NK[batch.ids])
        np.testing.assert_allclose(reward_B, share * plain_B, rtol=1e-9)
        np.testing.assert_allclose(gain_B, share * (plain_B + hard(task, old_BC, gold_B)), rtol=1e-9)
    assert weighting.metric == pytest.approx(metric(which, task, model, split), rel=1e-12)


def metric(which: str, task: Task, model: Any, split: SplitRows) -> float:
    """(1 − γ) times the accuracy, or less the squared error, on rows drawn by the documented key; dropout off."""
    if which != "r3":
        return 0.0
    key = np.array([SEED, zlib.crc32(f"reward/{STEP}/0".encode())], np.uint64)
    ids = np.random.Generator(np.random.Philox(key=key)).integers(REWARD_ROWS, size=REWARD_BATCH)
    assert len(set(ids.tolist())) < REWARD_BATCH  # with replacement
    with torch.no_grad():
        logits_BC = model.eval()(**split.encode(ids)).logits.numpy()
    if task.classes == 1:
        return -(1 - GAMMA) * float(np.mean((logits_BC[:, 0] - split.labels(ids)) ** 2))
    return (1 - GAMMA) * float(np.mean(logits_BC.argmax(-1) == split.labels(ids)))

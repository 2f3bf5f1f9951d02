"""The reward `influence` in a small training: it finds the plan behind labels of which a third is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback import QuizLoss
from raykd.objective.soft import SoftenedKL
from raykd.training.job import WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting import Stepping
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.influence import Influence, centred, of_choices
from raykd.weighting.policy.trainer import PolicyTrainer


class Linear(torch.nn.Module):
    """A student that is linear in a row's vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(width, 2)

    def forward(self, vector: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.layer(vector))


class Planted:
    """Two domains; 30 % of the training labels are wrong; rows by their id, as an encoder over them."""

    def __init__(self, rows: int, noise: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.true, self.domain = rng.integers(2, size=rows), rng.integers(2, size=rows)
        self.gold = np.where(rng.random(rows) < noise, 1 - self.true, self.true)
        # What tells the label differs from domain to domain, as words of praise do.
        signal = np.zeros((rows, 8))
        signal[np.arange(rows), 4 * self.domain] = 2 * self.true - 1
        signal[np.arange(rows), 4 * self.domain + 1] = 1
        self.vectors = torch.from_numpy(signal + 0.4 * rng.normal(size=(rows, 8))).float()
        self.rows = self

    def encode(self, ids: np.ndarray) -> dict[str, Tensor]:
        return {"vector": self.vectors[ids]}

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        return np.ones(len(ids), np.int32)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        return self.gold[ids]

    def teachers(self) -> Tensor:
        """Logits [2, rows, 2]: teacher k is right on domain k and wrong on the other."""
        answers = [np.where(self.domain == k, self.true, 1 - self.true) for k in range(2)]
        return torch.stack([3.0 * torch.nn.functional.one_hot(torch.from_numpy(a), 2) - 1.5 for a in answers]).float()

    def states(self, logits_KNC: Tensor) -> np.ndarray:
        """[R; p_k; CE_k] against the noisy label, [rows, 2, 11]."""
        log_KNC = logits_KNC.log_softmax(-1)
        loss_KN = -log_KNC[:, np.arange(len(self.gold)), self.gold]
        parts = [self.vectors.expand(2, -1, -1), log_KNC.exp(), loss_KN.unsqueeze(-1)]
        return torch.cat(parts, -1).transpose(0, 1).numpy()


@pytest.mark.parametrize("expected", [True, False])
def test_it_finds_the_plan_behind_labels_of_which_a_third_is_wrong(expected: bool) -> None:
    """On new rows; whoever follows the labels finds it on 70 %. A student, its quiz and a policy as they are."""
    train, quiz, new = Planted(1600, 0.3, 0), Planted(64, 0.0, 1), Planted(2000, 0.3, 2)
    encoder: Any = quiz
    student: Any = Linear(8)
    worker = WorkerContext(0, 1, torch.device("cpu"), 1)
    sampler = ReplacementSampler("reward", encoder, np.arange(64), 64, 0, worker, at_most_once=True)
    reward = Influence(QuizLoss(Task("classification", "accuracy", ("a", "b")), sampler))
    layout = policy.StateSpec(("one", "two"), hidden=8, classes=2, student=False)
    trainer = PolicyTrainer(
        PolicyTrainerSpec(layout, 0.02, 0.2, 0.01, update_every=1, passes=4, reward="influence", expected=expected)
    )
    served_KNC, states, soft = train.teachers(), train.states(train.teachers()), SoftenedKL(2.0)
    acting, optimizer = policy.Policy(2, layout.features), torch.optim.AdamW(student.parameters(), lr=0.02)
    for step in range(50):
        ids = np.arange(32 * step, 32 * (step + 1))
        targets_KBC, gold_B = served_KNC[:, ids], torch.from_numpy(train.gold[ids])
        with torch.no_grad():
            logits_BK = acting(torch.from_numpy(states[ids]))
        drawn_BK = torch.from_numpy(policy.uniforms(0, step, ids, 2))
        actions_BK = policy.act(logits_BK, "sample", drawn_BK)
        weights_BK = policy.blend(actions_BK, logits_BK)
        batch = Batch(ids, torch.full((32,), -1), train.encode(ids), step, 0, 32)
        student_BC = student(**batch.encoded).logits

        def at(parameters: Any, vectors: dict[str, Tensor] = batch.encoded) -> Tensor:
            return functional_call(student, parameters, (), vectors).logits

        def share(z_BC: Tensor, w_BK: Tensor, targets: Tensor = targets_KBC, gold: Tensor = gold_B) -> Tensor:
            hard = torch.nn.functional.cross_entropy(z_BC, gold, reduction="sum")
            return (0.9 * soft.per_example(z_BC, targets, w_BK).sum() + 0.1 * hard) / 32

        reward.begin(student, step, False)
        r_BK = reward.look_ahead(
            student, Stepping(batch, weights_BK, student_BC.detach(), torch.float32, at, share, None)
        )
        optimizer.zero_grad()
        share(student_BC, weights_BK).backward()
        optimizer.step()
        r_BK = centred(r_BK, 32)
        reward_B, gain_B = of_choices(r_BK, actions_BK, logits_BK)
        none = np.zeros(32, np.float32)
        seen = Experience(
            ids, states[ids], actions_BK.numpy(), policy.log_likelihood(logits_BK, actions_BK).numpy(),
            reward_B.numpy(), gain_B.numpy(), none, none.astype(np.int64), r_BK.numpy(),
        )  # fmt: skip
        trainer.push("run", step, 0, 1, seen)
        newest = trainer.weights(None)
        assert newest is not None
        acting.load_state_dict({name: torch.from_numpy(value) for name, value in newest.weights.items()})
    with torch.no_grad():
        pi = acting(torch.from_numpy(new.states(new.teachers()))).argmax(-1).numpy()
    assert (pi == new.domain).mean() > 0.8

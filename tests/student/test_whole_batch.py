"""A loss that couples the rows of a batch, over workers: processes with unequal shards, and with none, are one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from one_round import bert
from torch import Tensor

from raykd import objective
from raykd.config import DISTConfig, KLConfig
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.objective import Objective, WholeBatch
from raykd.objective.dist import CorrelationLoss
from raykd.student.step import DistillLoss, DistillStep
from raykd.training import collective
from raykd.weighting.rules import Fixed

ROWS, CLASSES, WORLD, ALPHA = 11, 4, 3, 0.3
TASK = Task("classification", "accuracy", tuple("abcd"))
SHARDS = {
    "unequal": ([0, 1, 2, 5, 9], [3, 4, 6, 10], [7, 8]),
    "one without rows": ([4, 1, 9, 6, 2], [], [0, 3, 5, 7, 8, 10]),
}
LABELS = torch.tensor([0, -1, 2, 3, -1, -1, 1, 1, -1, 0, 2])  # alike in no shard
TOKENS = torch.randint(1, 40, (ROWS, 7), generator=torch.Generator().manual_seed(0))


class Scalar:
    """A loss of another package, which says the same of all rows with one number."""

    def per_example(self, student_BC: Tensor, targets_KBC: Tensor, weights_BK: Tensor) -> Tensor:
        return CorrelationLoss(1.5, 2.0, 3.0).per_example(student_BC, targets_KBC, weights_BK).mean()


LOSSES: dict[str, Objective] = {"rows": CorrelationLoss(1.5, 2.0, 3.0), "scalar": Scalar()}
CASES = [(loss, shards) for loss in LOSSES for shards in SHARDS]


class Given:
    """Two teachers' logits by row."""

    logits_KNC = 2 * np.random.default_rng(0).normal(size=(2, ROWS, CLASSES))

    def available(self, ids: np.ndarray) -> int:
        return 2 * len(ids)

    def get(self, ids: np.ndarray) -> np.ndarray:
        return self.logits_KNC[:, ids]


def a_step(loss: str, shard: list[int], rank: int, world: int) -> tuple[Tensor, list[float]]:
    """One step of a worker as the loop makes it: the summed gradient, flat, and its total, soft and hard loss."""
    soft, model = LOSSES[loss], bert(CLASSES, 0).train()
    whole = WholeBatch(soft, ALPHA, rank, world) if world > 1 else None
    distill_loss = DistillLoss(TASK, ALPHA, soft, whole)
    step = DistillStep(distill_loss, Fixed((1.0, 3.0)), Given(), torch.float64)  # type: ignore[arg-type]
    ids = np.array(shard, dtype=np.int64)
    batches = [Batch(ids, LABELS[ids], {"input_ids": TOKENS[ids]}, 0, 0, ROWS)] if shard else []
    step.begin(model, 0, batches)
    values = [0.0, 0.0, 0.0]
    for batch in batches:
        taken = step.loss(model, batch)
        taken.total.backward()
        values = [taken.total.item(), taken.parts["soft"].item(), taken.parts["hard"].item()]
    collective.sum_gradients(model.parameters(), world)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), values


def work(rank: int, folder: str) -> None:
    """One of the processes: every case, its gradient and values put into the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    torch.save([a_step(loss, SHARDS[shards][rank], rank, WORLD) for loss, shards in CASES], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each of the processes got, by case."""
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(work, (str(folder),), WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def plain_gradient() -> tuple[Tensor, float]:
    """L_S of the whole batch written out with loops over rows and classes, and its gradient by autograd."""
    model = bert(CLASSES, 0).train()
    logits = model(input_ids=TOKENS).logits
    p, soft = torch.softmax(logits / 1.5, -1), torch.softmax(torch.from_numpy(Given.logits_KNC) / 1.5, -1)
    q = 0.25 * soft[0] + 0.75 * soft[1]

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return 1 - torch.corrcoef(torch.stack([x, y]))[0, 1]

    batch_term = sum((loss_of(p[:, c], q[:, c]) for c in range(CLASSES)), torch.zeros(())) / CLASSES
    total = torch.zeros((), dtype=torch.float64)
    for i in range(ROWS):
        soft_i = 2.0 * loss_of(p[i], q[i]) + 3.0 * batch_term
        if LABELS[i] < 0:
            total = total + soft_i
        else:
            total = total + ALPHA * soft_i - (1 - ALPHA) * torch.log_softmax(logits[i], -1)[LABELS[i]]
    (total / ROWS).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), total.item() / ROWS


def test_one_worker_is_the_written_out_loss() -> None:
    gradient, (total, *_) = a_step("rows", list(range(ROWS)), 0, 1)
    wanted, value = plain_gradient()
    torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-8 * float(wanted.abs().max()))
    assert total == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("shards", list(SHARDS))
def test_workers_are_one(workers: list[list[Any]], shards: str) -> None:
    """Gradients summed over workers are those of one; each has its own rows' part of the losses."""
    whole, values = a_step("rows", list(range(ROWS)), 0, 1)
    of_case = [of_worker[CASES.index(("rows", shards))] for of_worker in workers]
    for gradient, _ in of_case:
        torch.testing.assert_close(gradient, whole, rtol=1e-10, atol=1e-13 * float(whole.abs().max()))
    np.testing.assert_allclose(np.sum([each for _, each in of_case], axis=0), values, rtol=1e-12)
    alone = a_step("rows", list(SHARDS[shards][0]), 0, 1)[0]
    assert (alone - whole).norm() > 0.1 * whole.norm()  # its rows alone are another loss


@pytest.mark.parametrize("shards", list(SHARDS))
def test_a_scalar_counts_for_each_row_alike(workers: list[list[Any]], shards: str) -> None:
    whole, values = a_step("scalar", list(range(ROWS)), 0, 1)
    assert values[1] == pytest.approx(a_step("rows", list(range(ROWS)), 0, 1)[1][1], rel=1e-12)
    of_case = [of_worker[CASES.index(("scalar", shards))] for of_worker in workers]
    for gradient, _ in of_case:
        torch.testing.assert_close(gradient, whole, rtol=1e-10, atol=1e-13 * float(whole.abs().max()))
    np.testing.assert_allclose(np.sum([each for _, each in of_case], axis=0), values, rtol=1e-12)


def test_rows_are_brought_together_only_where_they_are_coupled() -> None:
    for config, world, wanted in ((DISTConfig(), 2, True), (DISTConfig(), 1, False), (KLConfig(), 2, False)):
        assert (objective.whole_batch(config, objective.build(config), 0, world) is not None) == wanted

"""The loop on one worker: bit-equal after every kind of stop, the best kept, patience, clipping and schedules."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from logs import events, losses, step_times
from tiny import generated_corpus
from transformers import PreTrainedModel

from raykd import models
from raykd.config import ModelConfig, OptimConfig
from raykd.data.batch import Batch
from raykd.errors import RunError
from raykd.training import checkpoint, loop
from raykd.training.job import Job, Outcome, Subset, WorkerContext
from raykd.training.optim import learning_rate
from raykd.training.supervised import SupervisedStep, SupervisedStepFactory

PLACE = WorkerContext(0, 1, torch.device("cpu"), 1)
SETTINGS = OptimConfig(epochs=2, batch_size=32, lr=2e-3, log_every=1, eval_every=4, threads=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job with dropout on, so that resuming must put the masks back."""
    folder = tmp_path_factory.mktemp("base")
    corpus, task = generated_corpus(folder / "cache", rows=200, validation_rows=60)
    train = Subset.of(corpus, "train")
    spec = ModelConfig(layers=1, hidden_size=16, heads=2, vocab_size=300, dropout=0.2)
    model, tokenizer = models.build(spec, task, train.texts(), 0, 24)
    models.save(model, tokenizer, folder / "start")
    return Job(
        folder="", metrics="", model=str(folder / "start"), task=task, train=train,
        validation=Subset.of(corpus, "validation"), settings=SETTINGS, seed=3, max_length=24,
        step=SupervisedStepFactory(),
    )  # fmt: skip


def at(job: Job, folder: Path, **settings: Any) -> Job:
    changed = job.settings.model_copy(update=settings)
    return replace(job, folder=str(folder), metrics=str(folder / "metrics.jsonl"), settings=changed)


def train(job: Job, stop_after: int | None = None) -> Outcome:
    asked = iter(range(10_000))
    return loop.train(
        job, PLACE, lambda metrics: None, lambda: stop_after is not None and next(asked) + 1 >= stop_after
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.load_checkpoint(folder / "checkpoints")
    assert state is not None
    return state.state["model"]


def assert_same_run(run: Path, other: Path) -> None:
    assert losses(run) == losses(other)
    evaluations = [[event.scores for event in events(folder, "eval")] for folder in (run, other)]
    assert evaluations[0] == evaluations[1]
    mine, theirs = weights(run), weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("stops", [[1], [4], [3, 5], [13]])
def test_stopped_and_resumed_is_bit_equal(base: Job, tmp_path: Path, stops: list[int]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(at(base, whole)).step == 14
    before: list[float] = []
    for count in stops:
        assert train(at(base, parts), stop_after=count).interrupted
        kept, before = before, step_times(parts)
        assert before[: len(kept)] == kept, "its steps were made again"
        assert len(before) == len(kept) + count
        assert (parts / "checkpoints" / f"step-{len(before):08d}").exists()
    outcome = train(at(base, parts))
    assert (outcome.step, outcome.interrupted) == (14, False)
    assert step_times(parts)[: len(before)] == before, "its steps were made again"
    assert_same_run(whole, parts)


def test_killed_and_resumed_is_bit_equal(base: Job, tmp_path: Path) -> None:
    """kill −9 between cuts: the steps after the last cut are done again and logged once."""
    import pickle

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(at(base, whole))
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(at(base, parts)))
    program = (
        "import os, pickle, signal, sys, torch\n"
        "from raykd.training import loop\nfrom raykd.training.job import WorkerContext\n"
        "job, asked = pickle.load(open(sys.argv[1], 'rb')), iter(range(99))\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGKILL) if next(asked) == 10 else False\n"
        "loop.train(job, WorkerContext(0, 1, torch.device('cpu'), 1), lambda metrics: None, die)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "job.pickle")], env=dict(os.environ), check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (parts / "checkpoints").glob("step-*")) == ["step-00000004", "step-00000008"]
    before = step_times(parts)
    assert len(before) == 11
    assert train(at(base, parts)).step == 14
    after = step_times(parts)
    assert [then == now for then, now in zip(before, after[:11], strict=True)] == [True] * 8 + [False] * 3
    assert_same_run(whole, parts)


def test_a_damaged_checkpoint_sends_the_run_to_the_one_before(base: Job, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(at(base, whole))
    train(at(base, parts), stop_after=9)
    newest = sorted((parts / "checkpoints").glob("step-*"))[-1] / "state.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    before = step_times(parts)
    assert len(before) == 9
    train(at(base, parts))
    after = step_times(parts)
    assert [then == now for then, now in zip(before, after[:9], strict=True)] == [True] * 8 + [False]
    assert_same_run(whole, parts)


def test_accumulation_is_the_same_batch(base: Job, tmp_path: Path) -> None:
    """Micro-batches weigh rows by the global batch, the short last batch included: float64, no dropout."""
    spec = ModelConfig(layers=1, hidden_size=16, heads=2, vocab_size=300, dropout=0.0)
    model, tokenizer = models.build(spec, base.task, base.train.texts(), 0, 24)
    models.save(model, tokenizer, tmp_path / "start")
    job = replace(base, model=str(tmp_path / "start"))
    train(at(job, tmp_path / "one", precision="float64"))
    train(at(job, tmp_path / "three", precision="float64", gradient_accumulation=3))
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "three"), rtol=1e-8)


def test_the_best_checkpoint_is_the_best_evaluation(base: Job, tmp_path: Path) -> None:
    outcome = train(at(base, tmp_path, epochs=4))
    evaluations = events(tmp_path, "eval")
    values = [event.scores["accuracy"] for event in evaluations]
    assert outcome.best_value == max(values)
    assert outcome.best_step == evaluations[values.index(max(values))].step
    logits = np.load(Path(outcome.best) / "logits.npy")
    labels = base.validation.rows().labels(base.validation.ids)
    assert base.task.scores(logits, labels)["accuracy"] == outcome.best_value
    model, _ = models.load(outcome.best)
    assert model.config.num_labels == 2


def test_a_model_that_diverges_at_once_ends_with_one_line(base: Job, tmp_path: Path) -> None:
    job = replace(at(base, tmp_path, lr=1e30), name="teacher one")
    with pytest.raises(RunError, match=r"^teacher one: its loss is nan at step 4 of 14: training has diverged \(lower"):
        train(job)
    assert not events(tmp_path, "eval")
    assert not list((tmp_path / "checkpoints").glob("*"))


class _Poisoned(SupervisedStep):
    """Weights are NaN from the sixth step on."""

    def end(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
        if batches[0].step == 5:
            with torch.no_grad():
                model.get_parameter("classifier.weight").fill_(torch.nan)


class _PoisonedFactory(SupervisedStepFactory):
    def build(self, job: Job, worker: WorkerContext) -> SupervisedStep:
        return _Poisoned(job.task)


def test_a_model_that_diverges_later_leaves_its_best_checkpoint(base: Job, tmp_path: Path) -> None:
    with pytest.raises(RunError) as diverged:
        train(replace(at(base, tmp_path), step=_PoisonedFactory()))
    (evaluation,) = events(tmp_path, "eval")
    best = tmp_path / "checkpoints" / "best-00000004"
    accuracy = evaluation.scores["accuracy"]
    kept = f"its loss is nan at step 8 of 14: training has diverged; the best so far, accuracy {accuracy:.4f} at step 4"
    assert diverged.value.what == f"{kept}, is in {best}"
    model, _ = models.load(best)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    # A resumed run starts before the damage and finds the same again.
    with pytest.raises(RunError, match="is nan at step 8"):
        train(replace(at(base, tmp_path), step=_PoisonedFactory()))


def test_patience_ends_the_run_and_a_resumed_one_stays_ended(base: Job, tmp_path: Path) -> None:
    job = at(base, tmp_path, epochs=40, lr=1e-9, eval_every=1, early_stopping_patience=3)
    outcome = train(job)
    assert outcome.step < 20
    assert outcome.worse_evaluations == 3
    assert train(job).step == outcome.step


def test_nothing_trainable_moves_when_embeddings_are_frozen(base: Job, tmp_path: Path) -> None:
    train(at(base, tmp_path, freeze_embeddings=True))
    before, _ = models.load(base.model)
    after = weights(tmp_path)
    moved = {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, after[name])}
    assert "bert.embeddings.word_embeddings.weight" not in moved
    assert "classifier.weight" in moved


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rate(schedule: str) -> None:
    settings = OptimConfig(lr=1.0, warmup_ratio=0.2, schedule=schedule)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(k + 1) / 20 for k in range(20)])
    middle = {"linear": 0.5, "cosine": 0.5 * (1 + math.cos(math.pi / 2)), "constant": 1.0}[schedule]
    assert rates[60] == pytest.approx(middle)
    assert min(rates) > 0


def test_the_global_random_state_is_left_alone(base: Job, tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    train(at(base, tmp_path))
    assert torch.equal(torch.rand(1), wanted)


def test_ctrl_c_is_a_request_first() -> None:
    from raykd.training.interrupt import interruptible

    with interruptible() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(1)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(1)

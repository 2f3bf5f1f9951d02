"""Training of meta-teachers and multi-task teachers: resumed bit for bit, in micro-batches; what the states keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from logs import losses
from tiny import generated_corpus

from raykd import models
from raykd.config import MetaTeacherConfig, ModelConfig, OptimConfig, TeacherConfig
from raykd.models.domain_head import FOLDER, load_domain_head
from raykd.teachers.meta_teacher import MetaStepFactory
from raykd.teachers.multi_task import MultiTaskStepFactory
from raykd.training import loop
from raykd.training.job import Job, Outcome, StepFactory, Subset, WorkerContext

PLACE = WorkerContext(0, 1, torch.device("cpu"), 1)
NAMES = ("books", "electronics", "kitchen")
SETTINGS = OptimConfig(epochs=2, batch_size=32, lr=2e-3, log_every=1, eval_every=4, threads=1)
KINDS = ["corrupt", "reverse", "none", "multi_task"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job with dropout on, so that resuming must put the masks back."""
    folder = tmp_path_factory.mktemp("base")
    corpus, task = generated_corpus(folder / "cache", rows=200, validation_rows=60, domains=3)
    train = Subset.of(corpus, "train")
    for name, dropout in (("start", 0.2), ("plain", 0.0)):
        spec = ModelConfig(layers=1, hidden_size=16, heads=2, vocab_size=300, dropout=dropout)
        models.save(*models.build(spec, task, train.texts(), 0, 24), folder / name)
    np.save(folder / "scores.npy", np.random.default_rng(0).random(200))
    return Job(
        folder="", metrics="", model=str(folder / "start"), task=task, train=train,
        validation=Subset.of(corpus, "validation"), settings=SETTINGS, seed=3, max_length=24,
        step=factory("corrupt", folder / "scores.npy"),
    )  # fmt: skip


def factory(kind: str, scores: Path) -> StepFactory:
    if kind == "multi_task":
        return MultiTaskStepFactory(NAMES)
    config = TeacherConfig.of({"prepare": "meta", "model": "unused", "domain_loss": kind})
    assert isinstance(config, MetaTeacherConfig)
    return MetaStepFactory(str(scores), NAMES, config)


def job_of(base: Job, kind: str, folder: Path, start: str = "start", **settings: Any) -> Job:
    model = Path(base.model).parent
    return replace(
        base,
        model=str(model / start),
        step=factory(kind, model / "scores.npy"),
        folder=str(folder),
        metrics=str(folder / "metrics.jsonl"),
        settings=base.settings.model_copy(update=settings),
    )


def train(job: Job, stop_after: int | None = None) -> Outcome:
    asked = iter(range(10_000))
    return loop.train(
        job, PLACE, lambda metrics: None, lambda: stop_after is not None and next(asked) + 1 >= stop_after
    )


def files(folder: Path) -> dict[str, bytes]:
    """All of a checkpoint, the head beside it included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_is_bit_equal(base: Job, tmp_path: Path, kind: str) -> None:
    """Model, head and optimizer: a stop between evaluations and one in the second epoch."""
    whole = train(job_of(base, kind, tmp_path / "whole"))
    for count in (3, 6):
        assert train(job_of(base, kind, tmp_path / "parts"), stop_after=count).interrupted
    parts = train(job_of(base, kind, tmp_path / "parts"))
    assert (whole.step, parts.step) == (14, 14)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert whole.best_step == parts.best_step
    mine, theirs = files(Path(parts.best)), files(Path(whole.best))
    assert mine == theirs
    assert any(name.startswith(FOLDER) for name in mine) == (kind != "none")


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_are_the_same_batch(base: Job, tmp_path: Path, kind: str) -> None:
    """float64, no dropout, the short last batch included."""
    for name, parts in (("one", 1), ("three", 3)):
        train(job_of(base, kind, tmp_path / name, "plain", precision="float64", gradient_accumulation=parts))
    assert len(losses(tmp_path / "one")) == 14
    np.testing.assert_allclose(losses(tmp_path / "three"), losses(tmp_path / "one"), rtol=1e-8)


def test_the_head_is_trained_and_saved_with_its_best_model(base: Job, tmp_path: Path) -> None:
    outcome = train(job_of(base, "corrupt", tmp_path, eval_every=100))
    best = Path(outcome.best)
    head = load_domain_head(best, models.weights_fingerprint(best), torch.float32)
    first = factory("corrupt", Path(base.model).parent / "scores.npy").build(base, PLACE).beside
    assert head.domains == NAMES
    assert first is not None
    moved = {name: not torch.equal(tensor, first.state_dict()[name]) for name, tensor in head.state_dict().items()}
    assert all(moved.values()), moved
    model, _ = models.load(best)
    assert model.config.num_labels == 2

"""A worker's job and its outcome, which cross processes; the step that it takes, and where it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from transformers import PreTrainedModel

from raykd.config import OptimConfig
from raykd.data import order
from raykd.data.batch import Batch
from raykd.data.corpus import Corpus
from raykd.data.rows import Rows
from raykd.data.splits import Split, content_digest
from raykd.data.tasks import Task


@dataclass(frozen=True)
class Subset:
    """Rows of a split: their ids in its file."""

    split: Split
    ids: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus, name: str) -> Subset:
        """The rows that a corpus uses as train, validation, quiz, reward or test."""
        return cls(corpus.splits[corpus.source[name]], corpus.ids[name])

    def rows(self) -> Rows:
        """The split's file, memory-mapped: all its rows, not only these."""
        return self.split.open()

    def labels(self) -> np.ndarray:
        """The rows' labels, [N]: class ids int64, or float64 values of a regression."""
        return self.rows().labels(self.ids)

    def seen_in(self, epoch: int, settings: OptimConfig, seed: int, labeled_share: float | None = None) -> np.ndarray:
        """The ids in the order in which an epoch of training sees them."""
        rows, size = self.rows(), settings.batch_size
        lengths = rows.lengths if settings.group_by_length else None
        if labeled_share is not None:
            has = rows.labeled(self.ids)
            if has.any() and not has.all():
                return order.mixed_order(seed, epoch, self.ids[has], self.ids[~has], size, labeled_share, lengths)
        return order.epoch_order(seed, epoch, self.ids, size, None if lengths is None else lengths[self.ids])

    def labeled(self) -> Subset:
        """Those of its rows that have a label."""
        return Subset(self.split, self.ids[self.rows().labeled(self.ids)])

    def digest(self) -> str:
        """sha256 of the texts and labels of these rows, in this order: where in a file they stand plays no part."""
        rows = self.rows()
        content = {"text": rows.sentences(self.ids), "label": pa.array(rows.labels(self.ids))}
        return content_digest(pa.table(content))

    def texts(self) -> list[str]:
        """All sentences, first and second ones: what a tokenizer is trained on."""
        rows = self.rows()
        return rows.texts(self.ids) + (rows.pairs(self.ids) or [])


@dataclass(frozen=True)
class WorkerContext:
    """A worker's rank among `world` workers, its device, its torch threads."""

    rank: int
    world: int
    device: torch.device
    threads: int


@dataclass
class StepTimers:
    """Where a step's time went, in seconds, and how many rows' targets were available when they were needed.

    Attributes:
        wait_s: waiting for soft targets.
        targets_s: asking for them ahead of time, weighing, comparing.
        feedback_s: rounds of feedback: pilot, quiz, the teachers' steps and fresh targets.
    """

    wait_s: float = 0.0
    targets_s: float = 0.0
    feedback_s: float = 0.0
    asked: int = 0
    hits: int = 0


@dataclass(frozen=True)
class StepLoss:
    """Sums over a micro-batch's rows, each divided by the rows of the global batch."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


class Step(ABC):
    """The loss of one optimizer step, and what happens around it; every worker has one and calls it alike.

    Attributes:
        beside: what is trained along with the model and is part of the optimizer and of checkpoints, not of the model
            that is saved: a projection, a head. In the model's dtype, the same on every worker; None for nothing.
        beside_rate: its learning rate, as a multiple of the model's.
    """

    beside: nn.Module | None = None
    beside_rate: float = 1.0

    def __init__(self) -> None:
        self.timers = StepTimers()

    def prefetch(self, step: int, batches: list[np.ndarray]) -> None:
        """The rows of this worker in this step and the next ones."""

    def begin(self, model: PreTrainedModel, step: int, batches: list[Batch]) -> None:
        """Before the first micro-batch of a step."""

    @abstractmethod
    def loss(self, model: PreTrainedModel, batch: Batch) -> StepLoss:
        """The loss of a micro-batch, with its graph."""

    def gradient_summed(self, model: PreTrainedModel) -> None:
        """Before the optimizer's step: each `.grad` is the sum over micro-batches and workers, not clipped yet."""

    def end(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
        """After the optimizer's step, with the same batches as in `begin`."""

    def evaluated(self, step: int, epoch: float) -> None:
        """After an evaluation of the student, and before its first step."""

    def save_best(self, folder: Path) -> None:
        """Worker 0 puts into the folder of the best model so far what belongs to it: a head that the model has not."""

    def save(self, folder: Path) -> None:
        """Worker 0 puts into a checkpoint's folder what the step resumes from."""

    def restore(self, folder: Path) -> None:
        """Takes up what `save` has put into the folder; on every worker."""

    def finalize(self, folder: Path) -> dict[str, Any]:
        """At the end of training: writes what is to be kept into the job's folder; returns entries of the result."""
        return {}

    def close(self) -> None:
        """Gives back what the step holds."""


class StepFactory(Protocol):
    """Builds a worker's step; picklable."""

    def build(self, job: Job, worker: WorkerContext) -> Step:
        """The step of the worker at this place."""


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to train one model.

    Attributes:
        folder: holds `checkpoints/`; on storage that all workers share.
        metrics: path of the metrics.jsonl that worker 0 appends to.
        model: folder of the checkpoint to start from.
        seed: of the order of rows and of dropout.
        ahead: batches whose rows `Step.prefetch` gets before their turn.
        labeled_share: part of every batch that has labels; None, or rows of one kind alone: as the rows come.
        name: of what is trained, in errors.
    """

    folder: str
    metrics: str
    model: str
    task: Task
    train: Subset
    validation: Subset
    settings: OptimConfig
    seed: int
    max_length: int
    step: StepFactory
    ahead: int = 0
    labeled_share: float | None = None
    name: str = "student"


@dataclass
class Outcome:
    """What training gave: counters over all attempts, and the best checkpoint.

    Attributes:
        best: folder of the best checkpoint, with logits.npy on the validation rows.
        train_s: seconds within steps on worker 0, without evaluations and checkpoints.
        extras: further entries of the result, from the step (feedback, weighting).
        interrupted: stopped on request, with a checkpoint saved.
    """

    step: int = 0
    total_steps: int = 0
    epochs: float = 0.0
    samples: int = 0
    train_s: float = 0.0
    timers: StepTimers = field(default_factory=StepTimers)
    best: str = ""
    best_step: int = -1
    best_value: float = float("-inf")
    best_scores: dict[str, float] = field(default_factory=dict)
    worse_evaluations: int = 0
    interrupted: bool = False
    extras: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {**self.__dict__, "timers": dict(self.timers.__dict__)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Outcome:
        """The outcome that `as_dict` was called on."""
        return cls(**{**plain, "timers": StepTimers(**plain["timers"])})

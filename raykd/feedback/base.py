"""A round, as every feedback gets it, and what a feedback may do around the student's step."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from raykd.data.batch import Batch


@dataclass(frozen=True)
class Round:
    """One optimizer step of one worker, by micro-batch; a worker without rows has none.

    Attributes:
        step: optimizer step, from 0.
        weights: [B, K] of each micro-batch, drawn once for the pilot and the real step.
        targets: logits [K, B, C] of each micro-batch, from before the feedback.
    """

    step: int
    model: PreTrainedModel
    batches: list[Batch]
    weights: list[torch.Tensor]
    targets: list[torch.Tensor]


class Feedback(ABC):
    """May change the teachers around a student's step; every worker has one and calls it alike."""

    seconds: float = 0.0
    """Spent within rounds of feedback."""

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether the teachers learn in this step: what they serve is then kept until the feedback on it comes."""

    def before(self, now: Round) -> list[torch.Tensor]:
        """The targets [K, B, C] that the step uses: the round's, or fresh ones of teachers that have just learnt."""
        return now.targets

    def logits(self, batch: Batch) -> torch.Tensor | None:
        """The student's logits_BC for its step with their graph, where `before` has computed them already."""
        return None

    def gradient_summed(self, now: Round) -> None:
        """Called before the student steps: each `.grad` of its model is the sum over micro-batches and workers."""

    def differentiates(self, step: int) -> bool:
        """Whether `before` takes u = J_S(θ)·v of this step, v the quiz's gradient after a pilot: see `derivative`."""
        return False

    def derivative(self, batch: Batch) -> torch.Tensor:
        """u [B, C] of a micro-batch as `before` took it, nothing subtracted; where `differentiates`."""
        raise NotImplementedError

    def after(self, now: Round, optimizer: torch.optim.Optimizer) -> None:
        """Called once the student has stepped."""

    def kernels(self) -> contextlib.AbstractContextManager[Any]:
        """Around the student's forward passes: the attention kernels that the feedback can differentiate."""
        return contextlib.nullcontext()

    def evaluated(self, step: int, epoch: float) -> None:
        """After an evaluation of the student, and before its first step."""

    def save(self, folder: Path) -> None:
        """Puts what it resumes from into a checkpoint's folder."""

    def restore(self, folder: Path) -> None:
        """Takes up what `save` has put there."""

    def finalize(self, folder: Path) -> dict[str, Any]:
        """At the end of training: its entries of the result."""
        return {}

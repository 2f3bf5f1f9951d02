"""What a step event holds: mean losses since the last one, speed and the share of time spent waiting."""

from __future__ import annotations

import torch

from raykd.records.events import StepEvent
from raykd.training import collective
from raykd.training.job import Outcome, StepLoss


class TrainMetrics:
    """Adds up steps; tensors stay on their device until an event is due, so that a GPU is not made to wait."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._reset()

    def _reset(self) -> None:
        self.loss: dict[str, torch.Tensor] = {}
        self.norm: torch.Tensor | None = None
        self.steps, self.samples, self.seconds = 0, 0, 0.0
        self.waited_before = self.outcome.timers.wait_s

    def add(self, loss: StepLoss) -> None:
        """Adds a micro-batch's share of its step's loss."""
        for name, value in {"loss": loss.total.detach(), **loss.parts}.items():
            self.loss[name] = self.loss[name] + value if name in self.loss else value

    def stepped(self, samples: int, seconds: float, norm: torch.Tensor) -> None:
        """An optimizer step over so many rows of all workers."""
        self.steps, self.norm = self.steps + 1, norm
        self.samples, self.seconds = self.samples + samples, self.seconds + seconds
        self.outcome.samples += samples
        self.outcome.train_s += seconds

    def event(self, step: int, epoch: float, lr: float, device: torch.device, world: int) -> StepEvent:
        """Means since the last event, over all workers, and a fresh start; every worker must call it.

        Args:
            step, epoch: how many optimizer steps, and epochs, are done.
            lr: of the last step.
        """
        names = ["loss", "hard", "soft", "features"]
        mine = [float(self.loss[name]) if name in self.loss else 0.0 for name in names]
        has = [float(name in self.loss) for name in ("soft", "features")]
        *sums, soft_somewhere, features_somewhere = collective.sum_scalars([*mine, *has], device, world)
        loss, hard, soft, features = (total / self.steps for total in sums)
        event = StepEvent(
            step=step,
            epoch=epoch,
            lr=lr,
            loss=loss,
            hard=hard,
            soft=soft if soft_somewhere else None,
            features=features if features_somewhere else None,
            grad_norm=float(self.norm) if self.norm is not None else 0.0,
            samples_per_s=self.samples / self.seconds,
            wait_share=(self.outcome.timers.wait_s - self.waited_before) / self.seconds,
        )
        self._reset()
        return event

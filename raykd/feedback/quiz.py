"""ℓ = CE(z_S(x_q; θ), y_q) on quiz rows drawn with replacement, dropout off; a worker takes its share of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from transformers import PreTrainedModel

from raykd.data.tasks import Task
from raykd.models import forward
from raykd.training.replacement_sampler import ReplacementSampler


class QuizLoss:
    """The quiz's loss as a function of the student's parameters."""

    def __init__(self, task: Task, sampler: ReplacementSampler) -> None:
        self.task, self.sampler = task, sampler

    def loss(
        self, model: PreTrainedModel, step: int, draw: int
    ) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
        """This worker's share of ℓ, each row weighing 1 / rows."""
        return self._share(model, *self.sampler.mine(step, draw))

    def parts(
        self, model: PreTrainedModel, step: int, draw: int, rows: int
    ) -> list[Callable[[Mapping[str, torch.Tensor]], torch.Tensor]]:
        """The same share as a sum of parts of so many rows: the graph of few is held, few are padded to the longest."""
        return [self._share(model, *part) for part in self.sampler.mine_by_length(step, draw, rows)]

    def _share(
        self, model: PreTrainedModel, encoded: dict[str, torch.Tensor], labels_B: torch.Tensor
    ) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
        def loss(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
            if not len(labels_B):
                return torch.zeros((), dtype=next(iter(parameters.values())).dtype, device=labels_B.device)
            training = model.training
            model.eval()
            try:
                logits_BC = forward.logits_at(model, parameters, encoded)
            finally:
                model.train(training)
            return self.task.hard_loss(logits_BC, labels_B).sum() / self.sampler.rows

        return loss

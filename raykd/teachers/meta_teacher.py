"""L = mean_i t_i CE(z_i, y_i) + γ₁ mean_i CE(dom(o_i), d'_i): one teacher of all domains.

Pan et al., "Meta-KD", ACL 2021, section 3.2; docs/methods.md, section "Meta-KD: the teacher".
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from raykd import models
from raykd.columns import Column
from raykd.config import MetaTeacherConfig
from raykd.data.batch import Batch
from raykd.data.rows import Rows
from raykd.data.tasks import Task
from raykd.files import replacing
from raykd.models import forward
from raykd.models.capture import capture, capture_shape
from raykd.models.checkpoint import read_config
from raykd.models.domain_head import FOLDER, DomainHead, other_domains
from raykd.teachers.prototype_report import prototype_report, save_prototype_report
from raykd.teachers.prototypes import ENCODER, Prototypes, pooled_rows
from raykd.teachers.recipe import DomainRecipe
from raykd.training.job import Job, Step, StepFactory, StepLoss, WorkerContext

SCORES = "scores.npy"
REVERSED_RATE = 10.0
"""Of the domain head under `reverse`, as a multiple of the model's learning rate. At the model's own the head lags
behind: the model then makes it wrong by telling the domains apart in another way, and they are easier to read."""


@dataclass(frozen=True)
class MetaRecipe(DomainRecipe):
    """A meta-teacher: prototype scores first, then the classifier with its domain head."""

    config: MetaTeacherConfig

    def made_of(self) -> dict[str, Any]:
        """Its own settings, and the domains of the rows."""
        own = ("prototype_share", "prototype_weights", "domain_loss", "domain_weight")
        return super().made_of() | {key: getattr(self.config, key) for key in own}

    def step(self, start: Path, work: Path) -> StepFactory:
        """The step, once the scores of all training rows are written to `work`."""
        names = self.row_domains
        if not (work / SCORES).exists():
            pooled_NH, classes_N = pooled_rows(start, self.train, self.max_length), self.train.labels()
            prototypes = Prototypes.of(pooled_NH, names, classes_N, self.task.labels, self.config.prototype_share)
            prototypes.save(work)
            scores_N = prototypes.scores(pooled_NH, names, classes_N)
            save_prototype_report(prototype_report(prototypes, pooled_NH, names, classes_N, scores_N), work)
            by_row = np.full(self.train.split.rows, np.nan)
            by_row[self.train.ids] = scores_N
            with replacing(work / SCORES) as draft:  # whole or not at all: a resumed training reads it
                np.save(draft, by_row)
        return MetaStepFactory(str(work / SCORES), self.domains, self.config)

    def finish(self, trained: Path, start: Path) -> None:
        """The prototypes, and the encoder that they were taken with, go beside the checkpoint and its domain head."""
        (trained / FOLDER).mkdir(exist_ok=True)
        for file in (start.parent / FOLDER).iterdir():
            shutil.copy(file, trained / FOLDER / file.name)
        shutil.copytree(start, trained / FOLDER / ENCODER, dirs_exist_ok=True)


@dataclass(frozen=True)
class MetaStepFactory:
    """Builds a worker's `MetaStep`; picklable.

    Attributes:
        scores: path of t by row number.
        domains: their names, in the order of the domain head.
    """

    scores: str
    domains: tuple[str, ...]
    config: MetaTeacherConfig

    def build(self, job: Job, worker: WorkerContext) -> Step:
        """With a domain head whose first values come from the job's seed."""
        model_config = read_config(Path(job.model), job.name)
        layers, width, _ = capture_shape(model_config)
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        head = DomainHead(self.domains, width, dtype, job.seed)
        scores = np.load(self.scores) if self.config.prototype_weights else None
        return MetaStep(job.task, head, Column("hidden", layers), scores, job.train.rows(), self.config, job.seed)


class MetaStep(Step):
    """The meta-teacher's loss of a micro-batch.

    Args:
        last: the last hidden states.
        scores: t by row number; None for 1 everywhere.
        rows: of the training split, for their domains.
    """

    def __init__(
        self,
        task: Task,
        head: DomainHead,
        last: Column,
        scores: np.ndarray | None,
        rows: Rows,
        config: MetaTeacherConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.task, self.head, self.last, self.scores, self.rows = task, head, last, scores, rows
        self.config, self.seed = config, seed
        self.beside = head if config.domain_loss != "none" and config.domain_weight > 0 else None
        self.beside_rate = REVERSED_RATE if config.domain_loss == "reverse" else 1.0

    def loss(self, model: PreTrainedModel, batch: Batch) -> StepLoss:
        """The rows' share of L, in float32 at least also under autocast."""
        logits_BC, captured = capture(model, batch.encoded, (self.last,))
        full = torch.promote_types(logits_BC.dtype, torch.float32)
        hard_B = self.task.hard_loss(logits_BC.to(full), batch.labels_B)
        if self.scores is not None:
            hard_B = torch.from_numpy(self.scores[batch.ids]).to(hard_B) * hard_B
        hard = hard_B.sum() / batch.global_rows
        total = hard
        if self.beside is not None:
            mean_BH = forward.masked_mean(captured[self.last].to(full), batch.encoded["attention_mask"])
            total = hard + self.config.domain_weight * self._domain(mean_BH, batch).sum() / batch.global_rows
        return StepLoss(total, {"hard": hard.detach()})

    def save_best(self, folder: Path) -> None:
        """The domain head, beside the checkpoint that it belongs to; one that has learnt nothing is not kept."""
        if self.beside is not None:
            self.head.save(folder, models.weights_fingerprint(folder))

    def _domain(self, mean_BH: torch.Tensor, batch: Batch) -> torch.Tensor:
        """CE(dom(o_i), d'_i) of each row, [B]."""
        names = self.rows.domains(batch.ids)
        assert names is not None
        own_B = self.head.index(names)
        if self.config.domain_loss == "reverse":
            # The head descends on the right domains, and what it reads ascends. It is not told the row's domain by E:
            # with that it would need nothing of m, and there would be nothing to unlearn.
            logits_BD = self.head(_reversed(mean_BH), torch.full_like(own_B, -1))
            return F.cross_entropy(logits_BD, own_B.to(mean_BH.device), reduction="none")
        wrong = other_domains(self.seed, batch.step, batch.ids, own_B.numpy(), len(self.head.domains))
        wrong_B = torch.from_numpy(wrong).to(mean_BH.device)
        return F.cross_entropy(self.head(mean_BH, own_B), wrong_B, reduction="none")


class _Reversal(torch.autograd.Function):
    """The values as they are, the gradient with the opposite sign (Ganin, Lempitsky 2015, section 3.2)."""

    @staticmethod
    def forward(values: torch.Tensor) -> torch.Tensor:
        return values.view_as(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept for the way back."""

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


def _reversed(values: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = _Reversal.apply(values)
    return out

"""The features' part of a student's step: what it captures of the student, gets of the teacher, and makes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raykd.columns import DOMAIN, Column
from raykd.config import FeaturesConfig
from raykd.data.batch import Batch
from raykd.objective.feature_plan import FeaturePlan
from raykd.objective.features import FeatureLosses
from raykd.student.expertise import Expertise, Knowledge
from raykd.teachers.features import unpack
from raykd.teachers.local import LocalTeacher
from raykd.teachers.prototypes import load_prototypes
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.training.job import Job, WorkerContext
from raykd.training.optim import total_steps


@dataclass(frozen=True)
class FeatureSource:
    """Which features are matched and where the teacher's come from; picklable.

    Attributes:
        source: of the teacher's inner outputs.
        plan: the pairs of layers, and the columns of both models.
        settings: the weights of the terms and the stages.
        teacher: its place among the K.
        pooled: with expertise, where the rows' sentence vectors come from.
        checkpoint: with expertise, the folder that the teacher's prototypes are beside.
        columns: the teacher's own place of each class of the task.
    """

    source: TargetSource
    plan: FeaturePlan
    settings: FeaturesConfig
    teacher: int = 0
    pooled: TargetSource | None = None
    checkpoint: str = ""
    columns: tuple[int, ...] = ()


class FeatureMatching:
    """One worker's features.

    Args:
        in_loop: the teacher is loaded here and called in the student's own loop.

    Attributes:
        losses: the terms on inner outputs, with their projections.
        trained: all that is trained beside the student.
    """

    def __init__(self, source: FeatureSource, job: Job, worker: WorkerContext, in_loop: bool = False) -> None:
        self.source, self.settings, self.plan = source.source, source.settings, source.plan
        self.dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        self.losses = FeatureLosses(source.plan, source.settings, self.dtype, job.seed)
        self.trained = nn.ModuleDict({"losses": self.losses})
        self.rows, self.teacher = job.train.rows(), source.teacher
        self.knowledge: Knowledge | None = None
        if self.settings.knowledge is not None:
            own, theirs = self.plan.student.width, self.plan.teacher.width
            names = sorted(set(self.rows.domains(np.arange(len(self.rows))) or []))
            self.knowledge = self.trained["knowledge"] = Knowledge(names, own, theirs, self.dtype, job.seed)
        self.expertise: Expertise | None = None
        if source.pooled is not None:
            prototypes = load_prototypes(Path(source.checkpoint)).in_order(source.columns)
            self.expertise = Expertise(prototypes, TeacherClient(source.pooled).get, self.rows)
        self._client = None if in_loop else TeacherClient(source.source)
        self._local = LocalTeacher(source.source.teacher, worker.device) if in_loop else None
        steps = total_steps(len(job.train.ids), job.settings)
        self._first_steps = round(self.settings.first_stage * steps) if self.settings.stages == 2 else None

    @property
    def columns(self) -> tuple[Column, ...]:
        """What is captured of the student."""
        return self.plan.student_columns

    def matches(self, step: int) -> bool:
        """Whether features are part of the loss in this step: in all of them, or in the first stage."""
        return self._first_steps is None or step < self._first_steps

    def alone(self, step: int) -> bool:
        """Whether they are all of it."""
        return self._first_steps is not None and step < self._first_steps

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Asks for the rows of the next batches."""
        if self._client is not None:
            self._client.prefetch(batches)

    def get(self, batch: Batch) -> dict[Column, torch.Tensor]:
        """The teacher's columns of a micro-batch, padded as it is; waits for them where it must."""
        if self._client is not None:
            values = self._client.get_values(batch.ids)
        else:
            assert self._local is not None
            values = self._local.answer(self.source.split, batch.ids)
        shape = self.plan.teacher
        return unpack(
            values, self.source.teacher, shape.heads, shape.width, batch.encoded["attention_mask"], self.dtype
        )

    def per_example(
        self,
        captured: Mapping[Column, torch.Tensor],
        targets: Mapping[Column, torch.Tensor],
        batch: Batch,
        targets_KBC: torch.Tensor,
    ) -> torch.Tensor:
        """Σ_f β_f feature_f of each row, [B], in full precision; with expertise times e."""
        own = {column: tensor.to(self.dtype) for column, tensor in captured.items()}
        mask_BL = batch.encoded["attention_mask"]
        losses = self.losses.per_example(own, targets, mask_BL)
        if self.knowledge is not None:
            last_BLH = own[Column("hidden", self.plan.student.layers)]
            names = self.rows.domains(batch.ids) or []
            losses["knowledge"] = self.knowledge.per_example(last_BLH, mask_BL, names, targets[DOMAIN])
        total_B = self.losses.total(losses)
        if self.expertise is None:
            return total_B
        return self.expertise.weights(batch, targets_KBC[self.teacher]) * total_B

    def close(self) -> None:
        """Forgets what is under way."""
        if self._client is not None:
            self._client.close()

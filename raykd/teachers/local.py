"""A teacher's forward pass in this process: what a replica runs, and what a student without service would run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from raykd import models
from raykd.columns import DOMAIN, Column
from raykd.data.encoding import Encoder
from raykd.data.splits import Split, TextSplit
from raykd.models import forward
from raykd.models.capture import capture, capture_shape
from raykd.models.domain_head import DomainHead, load_domain_head
from raykd.teachers.features import pack
from raykd.teachers.serving.values import Values
from raykd.teachers.teacher_model import TeacherModel


class LocalTeacher:
    """One loaded teacher; answers example ids of any corpus in the cache.

    `logits` and `forward` are of a teacher whose output is logits or pooled, `answer` of any.
    """

    def __init__(self, teacher: TeacherModel, device: torch.device, dtype: str | None = None) -> None:
        self.teacher, self.device = teacher, device
        load = models.load_encoder if teacher.output == "pooled" else models.load
        self.model, self.tokenizer = load(teacher.folder, forward.DTYPES[dtype or teacher.dtype])
        models.check_length(self.model, teacher.max_length, f"teacher {teacher.name}")
        self.model.eval().to(device)
        self.columns = list(teacher.columns)
        self._domain_head: DomainHead | None = None
        if DOMAIN in teacher.features:
            precision = torch.float64 if self.model.dtype == torch.float64 else torch.float32
            self._domain_head = load_domain_head(Path(teacher.folder), teacher.weights, precision).to(device)
        self._encoders: dict[str, Encoder] = {}

    def answer(self, split: Split, ids: np.ndarray) -> Values:
        """Its output for these rows, as it travels and is stored."""
        if self.teacher.output != "features":
            return self.logits(split, ids)
        with torch.inference_mode():
            encoded = self._encoded(split, ids)
            return pack(self._captured(split, ids, encoded), self.teacher, encoded["attention_mask"])

    def _captured(self, split: Split, ids: np.ndarray, encoded: dict[str, torch.Tensor]) -> dict[Column, torch.Tensor]:
        """The teacher's columns; that of its domain head from the last hidden states and the rows' domains."""
        last = Column("hidden", capture_shape(self.model.config)[0])
        inner = [column for column in self.teacher.features if column != DOMAIN]
        _, captured = capture(self.model, encoded, [*inner, *([last] if self._domain_head is not None else [])])
        if self._domain_head is not None:
            names = self.encoder(split).rows.domains(ids) or [""] * len(ids)
            mean_BH = forward.masked_mean(captured[last], encoded["attention_mask"]).to(
                self._domain_head.embedding.dtype
            )
            captured[DOMAIN] = self._domain_head.mixed(mean_BH, self._domain_head.index(names))
        return captured

    def logits(self, split: Split, ids: np.ndarray) -> np.ndarray:
        """Logits [len(ids), C] in the task's column order, in the wire's dtype."""
        with torch.inference_mode():
            return self.forward(split, ids).cpu().numpy()

    def forward(self, split: Split, ids: np.ndarray) -> torch.Tensor:
        """As `logits`, a tensor on the device, with its graph where gradients are on."""
        answer = forward.logits if self.teacher.output == "logits" else forward.pooled
        out_BC = answer(self.model, self._encoded(split, ids))
        wire = torch.float64 if self.teacher.wire == "float64" else torch.float32
        return out_BC[:, self.columns].to(wire)

    def _encoded(self, split: Split, ids: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self.encoder(split).encode(ids).items()}

    def encoder(self, split: Split) -> Encoder:
        """Encodes this split's rows for this teacher; every row is tokenised once."""
        if isinstance(split, TextSplit):  # asked once, and no two are alike
            return Encoder(self.tokenizer, split.open(), self.teacher.max_length)
        if split.fingerprint not in self._encoders:
            self._encoders[split.fingerprint] = Encoder(self.tokenizer, split.open(), self.teacher.max_length)
        return self._encoders[split.fingerprint]


class LocalEnsemble:
    """K teachers called in the student's own loop: the baseline `in_loop`."""

    def __init__(self, teachers: Sequence[LocalTeacher], split: Split) -> None:
        self.teachers, self.split = teachers, split

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Does nothing: answers are computed when they are needed."""

    def available(self, ids: np.ndarray) -> int:
        """0: every row is computed when it is asked for."""
        return 0

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C], computed now."""
        return np.stack([teacher.logits(self.split, ids) for teacher in self.teachers])

    def close(self) -> None:
        """Does nothing: there is no service to let go of."""

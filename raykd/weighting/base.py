"""What every weighting is given of a student's step, and what it may do around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from transformers import PreTrainedModel

from raykd.data.batch import Batch
from raykd.errors import ConfigError
from raykd.weighting.inputs import WeightingInputs


@dataclass(frozen=True)
class Stepping:
    """A micro-batch whose loss the student is about to take, its parameters still as they were.

    Attributes:
        weights_BK: as `weigh` has given them.
        logits_BC: the step's own, without a graph.
        cast: the precision that they were computed in.
        at: parameters by name → logits_BC under the step's dropout masks.
        share: logits_BC, weights_BK → the rows' share of L_S, a scalar; each row weighs 1 / batch.global_rows.
        derivative_BC: u, where a feedback has taken it in this step.
    """

    batch: Batch
    weights_BK: torch.Tensor
    logits_BC: torch.Tensor
    cast: torch.dtype
    at: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    share: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    derivative_BC: torch.Tensor | None


@dataclass(frozen=True)
class Stepped:
    """A micro-batch that the student has just made its step on.

    Attributes:
        before_B: the hard loss of each row in the step's own forward pass.
        after: soft and hard loss of each row, [B] both, of the stepped student under the same dropout masks, so that
            their difference is what the step did and not which units were dropped. A forward pass without a graph.
    """

    batch: Batch
    before_B: torch.Tensor
    after: Callable[[], tuple[torch.Tensor, torch.Tensor]]


class Weighting(ABC):
    """Chooses the weight of each teacher for each row; every worker has one and calls it alike."""

    needs_student: bool = False
    """Whether `weigh` is to be given the student's logits, which costs a forward pass."""

    varies: bool = True
    """Whether the weights differ from row to row by more than chance, so that a report of them is worth its time."""

    @classmethod
    def from_config(cls, config: Any, inputs: WeightingInputs) -> Self:
        """Builds one worker's from its section of the configuration; by default it needs nothing of either."""
        return cls()

    @abstractmethod
    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """Weights [B, K] ≥ 0 that sum to 1 over K, without a gradient. Drawn once a round."""

    def observes(self, step: int) -> bool:
        """Whether `begin`, `look_ahead` and `observe` are called; the step's dropout masks are kept until then."""
        return False

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool) -> None:
        """Before a step that it `observes`, the weights being drawn; on workers without rows too.

        Args:
            derivative_known: each `Stepping` of this step brings its u.
        """

    def look_ahead(self, model: PreTrainedModel, stepping: Stepping) -> None:
        """Within a step that it `observes`, for each micro-batch after the student's forward pass."""

    def observe(self, model: PreTrainedModel, step: int, stepped: list[Stepped]) -> None:
        """After the student's step, what the weights led to; a worker without rows has no micro-batch."""

    def preference(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None) -> torch.Tensor:
        """What the weights tend to, [B, K]: `weigh` without the chance in it."""
        return self.weigh(batch, logits_KBC, student_BC)

    def save(self, folder: Path) -> None:
        """Worker 0 puts into a checkpoint's folder what it needs to resume."""

    def restore(self, folder: Path) -> None:
        """Takes up what `save` has put there; on every worker."""

    def finalize(self, folder: Path) -> dict[str, Any]:
        """At the end of training: writes what stays into the job's folder, returns its entries of the result."""
        return {}

    def close(self) -> None:
        """Releases processes and memory that it holds."""


def check_weights(weighting: Weighting, weights_BK: torch.Tensor, logits_KBC: torch.Tensor) -> None:
    """Looks at the first weights of a rule, which may be another package's.

    Raises:
        ConfigError: they are not [B, K], negative, or do not sum to 1 on each row.
    """
    shape, name = (logits_KBC.shape[1], logits_KBC.shape[0]), type(weighting).__name__
    mend = "weights are [rows, teachers], none negative, and sum to 1 on each row"
    if tuple(weights_BK.shape) != shape:
        raise ConfigError(
            f"weighting {name}", f"gave weights of shape {list(weights_BK.shape)}, not {list(shape)}", mend
        )
    sums_B = weights_BK.double().sum(-1)
    if not (weights_BK >= 0).all() or not ((sums_B - 1).abs() < 1e-2).all():
        what = f"gave weights from {float(weights_BK.min()):.3g}, whose sums are up to {float(sums_B.max()):.3g}"
        raise ConfigError(f"weighting {name}", what, mend)

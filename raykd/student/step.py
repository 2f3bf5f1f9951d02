"""One batch: L_i = α · soft(z_S, targets, w) + (1 − α) · hard(z_S, y) + Σ_f β_f · feature_f; no label: soft alone.

Here weighting, feedback and objective meet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd.columns import Column
from raykd.data.batch import Batch
from raykd.data.tasks import Task
from raykd.feedback import Feedback, NoFeedback, Round
from raykd.models import forward
from raykd.models.capture import capture
from raykd.objective import Objective, WholeBatch
from raykd.student.features import FeatureMatching
from raykd.teachers.serving.recording import WaitShare
from raykd.training.dropout import DropoutKey, DropoutReplay, dropout_seed
from raykd.training.job import Step, StepLoss
from raykd.weighting import Stepped, Stepping, Weighting, check_weights


class Targets(Protocol):
    """K teachers' logits, from wherever they come."""

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Requests the rows of the next batches, nearest first, without waiting."""

    def available(self, ids: np.ndarray) -> int:
        """Rows times teachers that need no waiting."""

    def get(self, ids: np.ndarray) -> np.ndarray:
        """The teachers' logits for these rows, [K, len(ids), C]; waits for them where it must."""

    def close(self) -> None:
        """Releases clients and requests under way."""


class TrainableTargets(Targets, Protocol):
    """Targets of teachers that receive feedback on what they served."""

    def open(self, ids: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        """As `get`, remembered under (step, worker, micro-batch)."""


@dataclass(frozen=True)
class DistillLoss:
    """The student's loss as a function of logits, for the real step and for a pilot.

    Attributes:
        whole_batch: of a soft loss that couples the rows of several workers, in the real step.
    """

    task: Task
    alpha: float
    objective: Objective
    whole_batch: WholeBatch | None = None

    def parts(
        self, logits_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft and hard loss of each row, [B] both, not yet weighed by α; the hard loss is 0 without a label."""
        soft_B = self.objective.per_example(logits_BC, targets_KBC, weights_BK).expand(len(logits_BC))
        return soft_B, self.task.hard_loss(logits_BC, batch.labels_B)

    def parts_of_step(
        self, logits_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`parts` within the whole batch, and its soft losses on other workers: 0 with their gradient by these rows."""
        if self.whole_batch is None:
            return *self.parts(logits_BC, targets_KBC, weights_BK, batch), logits_BC.new_zeros(())
        soft_B, elsewhere = self.whole_batch.soft(logits_BC, targets_KBC, weights_BK, batch.labeled)
        return soft_B, self.task.hard_loss(logits_BC, batch.labels_B), elsewhere

    def blend(self, soft_B: torch.Tensor, hard_B: torch.Tensor, batch: Batch) -> torch.Tensor:
        """L of each row, [B]: α soft + (1 − α) hard; a row without a label weighs as much, all of it soft."""
        return torch.where(batch.labeled, self.alpha * soft_B, soft_B) + (1 - self.alpha) * hard_B

    def share(
        self, logits_BC: torch.Tensor, targets_KBC: torch.Tensor, weights_BK: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """The rows' share of L_S, a scalar: each weighs 1 / batch.global_rows."""
        soft_B, hard_B = self.parts(logits_BC, targets_KBC, weights_BK, batch)
        return self.blend(soft_B, hard_B, batch).sum() / batch.global_rows


@dataclass
class _BatchState:
    """What a micro-batch is taught in this step, under which dropout masks, and what it lost."""

    targets_KBC: torch.Tensor
    weights_BK: torch.Tensor
    replay: contextlib.AbstractContextManager[object]
    features: dict[Column, torch.Tensor] | None = None
    hard_B: torch.Tensor | None = None


class DistillStep(Step):
    """The student's step on soft targets."""

    def __init__(
        self,
        distill_loss: DistillLoss,
        weighting: Weighting,
        targets: Targets,
        dtype: torch.dtype,
        feedback: Feedback | None = None,
        trainable: TrainableTargets | None = None,
        dropout_key: DropoutKey | None = None,
        survey: Callable[[Weighting, Targets, PreTrainedModel | None, Path], dict[str, Any]] | None = None,
        features: FeatureMatching | None = None,
    ) -> None:
        super().__init__()
        self.distill_loss, self.weighting, self.targets, self.dtype = distill_loss, weighting, targets, dtype
        self.feedback, self.trainable = feedback or NoFeedback(), trainable
        self.dropout_key, self.survey = dropout_key or DropoutKey(), survey
        self.features, self.beside = features, None if features is None else features.trained
        self._now: dict[int, _BatchState] = {}
        self._model: PreTrainedModel | None = None
        self._round: Round | None = None
        self._weights_checked, self._wait_share = False, WaitShare()

    def prefetch(self, step: int, batches: list[np.ndarray]) -> None:
        """Asks for the soft targets of the next batches."""
        begun = self._wait_share.begin(self.timers.wait_s)
        self.targets.prefetch(batches)
        if self.features is not None:
            self.features.prefetch([ids for k, ids in enumerate(batches) if self.features.matches(step + k)])
        self.timers.targets_s += time.perf_counter() - begun

    def begin(self, model: PreTrainedModel, step: int, batches: list[Batch]) -> None:
        """Takes the targets, weighs the teachers once for the round, lets them learn."""
        targets = [self._fetch(batch) for batch in batches]
        self._model = model
        begun = time.perf_counter()
        weights = [self._weigh(model, batch, logits) for batch, logits in zip(batches, targets, strict=True)]
        self.timers.targets_s += time.perf_counter() - begun
        self._round = Round(step, model, batches, weights, targets)
        spent = self.feedback.seconds
        fresh = self.feedback.before(self._round)
        self.timers.feedback_s += self.feedback.seconds - spent
        each = zip(batches, fresh, weights, strict=True)
        looks_back = self.weighting.observes(step)
        self._now = {
            batch.micro: _BatchState(
                targets_KBC,
                weights_BK,
                DropoutReplay() if looks_back else contextlib.nullcontext(),
                self._fetch_features(batch),
            )
            for batch, targets_KBC, weights_BK in each
        }
        if looks_back:
            begun = time.perf_counter()
            self.weighting.begin(model, step, self.feedback.differentiates(step))
            self.timers.targets_s += time.perf_counter() - begun
        if not batches and self.distill_loss.whole_batch is not None:
            self.distill_loss.whole_batch.join()

    def loss(self, model: PreTrainedModel, batch: Batch) -> StepLoss:
        """The blended loss of a micro-batch, each row weighing 1 / batch.global_rows."""
        now = self._now[batch.micro]
        captured: dict[Column, torch.Tensor] = {}
        logits_BC = self.feedback.logits(batch)
        if logits_BC is None:
            with self.feedback.kernels(), now.replay:
                if now.features is None:
                    logits_BC = forward.logits(model, batch.encoded)
                else:
                    assert self.features is not None
                    logits_BC, captured = capture(model, batch.encoded, self.features.columns)
        begun = time.perf_counter()
        if self.weighting.observes(batch.step):
            self.weighting.look_ahead(model, self._stepping(model, batch, logits_BC.detach()))
        # The small algebra of the loss is done in full precision, also where the forward pass is in bfloat16.
        inputs = logits_BC.to(self.dtype), now.targets_KBC, now.weights_BK, batch
        soft_B, hard_B, elsewhere = self.distill_loss.parts_of_step(*inputs)
        self.timers.targets_s += time.perf_counter() - begun
        total = self.distill_loss.blend(soft_B, hard_B, batch).sum() + elsewhere
        now.hard_B = hard_B.detach()
        parts = {"soft": soft_B, "hard": hard_B}
        if now.features is not None:
            assert self.features is not None
            parts["features"] = self.features.per_example(captured, now.features, batch, now.targets_KBC)
            total = parts["features"].sum() + (0 if self.features.alone(batch.step) else total)
        shares = {name: part_B.detach().sum() / batch.global_rows for name, part_B in parts.items()}
        return StepLoss(total / batch.global_rows, shares)

    def gradient_summed(self, model: PreTrainedModel) -> None:
        """Shows the feedback the gradient of the whole step."""
        assert self._round is not None
        self.feedback.gradient_summed(self._round)

    def end(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
        """Tells weighting and feedback what the step led to."""
        assert self._round is not None
        begun = time.perf_counter()
        self.weighting.observe(model, self._round.step, [self._stepped(model, batch) for batch in batches])
        self.timers.targets_s += time.perf_counter() - begun
        spent = self.feedback.seconds
        self.feedback.after(self._round, optimizer)
        self.timers.feedback_s += self.feedback.seconds - spent
        self._round = None
        self._wait_share.end(self.timers.wait_s)

    def evaluated(self, step: int, epoch: float) -> None:
        """Teachers that learn are scored along with the student."""
        self.feedback.evaluated(step, epoch)

    def save(self, folder: Path) -> None:
        """Teachers and a policy that learn belong to the same cut."""
        self.feedback.save(folder)
        self.weighting.save(folder)

    def restore(self, folder: Path) -> None:
        """Restores the teachers and the policy that belong to this checkpoint."""
        self.feedback.restore(folder)
        self.weighting.restore(folder)

    def finalize(self, folder: Path) -> dict[str, Any]:
        """Results of feedback and weighting by name, and each teacher's weights over the training rows."""
        extras = {"feedback": self.feedback.finalize(folder), "weighting": self.weighting.finalize(folder)}
        # A run that was stopped after its last step has no model here when it resumes.
        known = self._model is not None or not self.weighting.needs_student
        if self.survey is not None and self.weighting.varies and known:
            extras["weighting"]["teacher_weights"] = self.survey(self.weighting, self.targets, self._model, folder)
        return {name: entry for name, entry in extras.items() if entry}

    def close(self) -> None:
        """Releases the teachers and the policy."""
        self.targets.close()
        self.weighting.close()
        if self.features is not None:
            self.features.close()

    def _weigh(self, model: PreTrainedModel, batch: Batch, logits_KBC: torch.Tensor) -> torch.Tensor:
        student_BC = forward.predicted(model, batch.encoded) if self.weighting.needs_student else None
        weights_BK = self.weighting.weigh(batch, logits_KBC, student_BC)
        if not self._weights_checked:
            check_weights(self.weighting, weights_BK, logits_KBC)
            self._weights_checked = True
        return weights_BK

    def _stepping(self, model: PreTrainedModel, batch: Batch, logits_BC: torch.Tensor) -> Stepping:
        now, key = self._now[batch.micro], self.dropout_key

        def at(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
            torch.manual_seed(dropout_seed(key.seed, batch.step, batch.micro, key.rank))
            with self.feedback.kernels(), now.replay:
                return forward.logits_at(model, parameters, batch.encoded)

        def share(logits_BC: torch.Tensor, weights_BK: torch.Tensor) -> torch.Tensor:
            return self.distill_loss.share(logits_BC.to(self.dtype), now.targets_KBC, weights_BK, batch)

        u_BC = self.feedback.derivative(batch) if self.feedback.differentiates(batch.step) else None
        return Stepping(batch, now.weights_BK, logits_BC, key.cast, at, share, u_BC)

    def _stepped(self, model: PreTrainedModel, batch: Batch) -> Stepped:
        now = self._now[batch.micro]
        assert now.hard_B is not None

        def after() -> tuple[torch.Tensor, torch.Tensor]:
            # As the loop does before `loss`.
            torch.manual_seed(dropout_seed(self.dropout_key.seed, batch.step, batch.micro, self.dropout_key.rank))
            cast = forward.autocast(batch.labels_B.device, self.dropout_key.cast)
            with torch.no_grad(), self.feedback.kernels(), cast, now.replay:
                logits_BC = forward.logits(model, batch.encoded)
            return self.distill_loss.parts(logits_BC.to(self.dtype), now.targets_KBC, now.weights_BK, batch)

        return Stepped(batch, now.hard_B, after)

    def _fetch_features(self, batch: Batch) -> dict[Column, torch.Tensor] | None:
        """The teacher's columns; None in a step whose loss has no features."""
        if self.features is None or not self.features.matches(batch.step):
            return None
        begun = time.perf_counter()
        columns = self.features.get(batch)
        self.timers.wait_s += time.perf_counter() - begun
        return columns

    def _fetch(self, batch: Batch) -> torch.Tensor:
        begun = time.perf_counter()
        hits = self.targets.available(batch.ids)
        if self.trainable is not None and self.feedback.due(batch.step):
            logits_KBC = self.trainable.open(batch.ids, (batch.step, self.dropout_key.rank, batch.micro))
        else:
            logits_KBC = self.targets.get(batch.ids)
        self.timers.asked += logits_KBC.shape[0] * len(batch.ids)
        self.timers.hits += hits
        self.timers.wait_s += time.perf_counter() - begun
        return torch.from_numpy(logits_KBC).to(batch.labels_B.device, self.dtype)

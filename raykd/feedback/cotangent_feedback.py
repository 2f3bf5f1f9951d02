"""What MetaDistil and IKD share: the student as pure functions, cotangents to every teacher, the teachers' step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from raykd.data.batch import Batch
from raykd.feedback import cotangent
from raykd.feedback.base import Feedback, Round
from raykd.feedback.context import FeedbackContext
from raykd.feedback.cotangent import Micro, Outputs, Params
from raykd.feedback.tally import FeedbackTally
from raykd.models import forward
from raykd.records.events import FeedbackEvent, Scores, TeacherEvalEvent, TeacherStep
from raykd.records.run_result import FeedbackResult
from raykd.teachers.feedback.message import TeacherFeedback
from raykd.training import collective
from raykd.training.dropout import DropoutReplay, dropout_seed


class CotangentFeedback(Feedback):
    """Base of MetaDistil and IKD: when a round is due, and the way from the student's step to the teachers' steps."""

    surrogate: str | None = None

    def __init__(self, context: FeedbackContext) -> None:
        self.context, self.settings = context, context.settings
        weights = torch.float64 if context.dtype == torch.float64 else torch.float32
        self.route, self.reason = cotangent.choose_route(self.settings.route, weights, context.worker.device)
        self.tally = FeedbackTally()
        self._taken: dict[tuple[int, int], torch.Tensor] = {}

    def due(self, step: int) -> bool:
        """Each `every` steps from `start` on."""
        return step >= self.settings.start and (step - self.settings.start) % self.settings.every == 0

    def kernels(self) -> contextlib.AbstractContextManager[Any]:
        """Forward mode has a rule for the math kernel alone, and other kernels draw other masks from the same seed."""
        return sdpa_kernel(SDPBackend.MATH) if self.route == "forward" else contextlib.nullcontext()

    def evaluated(self, step: int, epoch: float) -> None:
        """Scores the teachers on the validation rows."""
        signal = self.context.validation
        evaluated = self.context.teachers.evaluate(signal.split, signal.ids)
        if self.context.log is None or not evaluated:
            return
        labels = signal.labels()
        task, drift = self.context.task, {name: moved for name, (_, moved) in evaluated.items()}
        scores: dict[str, Scores] = {name: dict(task.scores(logits, labels)) for name, (logits, _) in evaluated.items()}
        teachers = self.tally.scored(scores, drift)
        self.context.log.write(TeacherEvalEvent(step=step, epoch=epoch, teachers=teachers))

    def save(self, folder: Path) -> None:
        """The tally, and every teacher that learns."""
        self.tally.save(folder)
        self.context.teachers.save(folder)

    def restore(self, folder: Path) -> None:
        """Takes up the tally and the teachers' states."""
        self.tally = FeedbackTally.load(folder)
        self.context.teachers.restore(folder)
        self.context.teachers.wire_bytes = self.tally.wire_bytes

    def finalize(self, folder: Path) -> dict[str, Any]:
        """Writes the trained teachers beside the student; returns the fields of a `FeedbackResult` on worker 0."""
        if self.context.log is None:
            return {}
        folders = self.context.teachers.export(folder / "teachers")
        return FeedbackResult(
            type=self.settings.type,
            route=self.route,
            route_reason=self.reason,
            surrogate=self.surrogate,
            split="quiz" if self.settings.needs_quiz else "train",
            teachers={name: self.tally.teacher(name, str(path.relative_to(folder))) for name, path in folders.items()},
            **self.tally.summary(),
        ).model_dump()

    # For the two methods

    def _measure_now(self) -> bool:
        return self.tally.rounds % self.settings.measure_every == 0

    def _parameters(self, now: Round) -> dict[str, torch.Tensor]:
        """θ_S: what the student trains."""
        return {name: p for name, p in now.model.named_parameters() if p.requires_grad}

    def _micros(self, now: Round) -> list[Micro]:
        return [self._micro(now, k) for k in range(len(now.batches))]

    def _micro(self, now: Round, k: int) -> Micro:
        batch, weights_BK, model = now.batches[k], now.weights[k], now.model
        seed = dropout_seed(self.context.seed, batch.step, batch.micro, self.context.worker.rank)
        replay = DropoutReplay() if self.route != "forward" else contextlib.nullcontext()

        def outputs_at(parameters: Params) -> Outputs:
            torch.manual_seed(seed)
            with replay:
                return (forward.logits_at(model, parameters, batch.encoded),)

        def loss(outputs: Outputs, served: Outputs) -> torch.Tensor:
            return self.context.loss(outputs[0].to(self.context.dtype), served[0], weights_BK, batch)

        return Micro(outputs_at, loss, (now.targets[k],))

    def _reduce(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return collective.sum_tensors(tensors, self.context.worker.world)

    def _send_feedback(
        self,
        now: Round,
        micros: Sequence[Micro],
        theta: Params,
        outputs: list[Outputs],
        directions: Sequence[Params],
        quiz: dict[str, torch.Tensor],
        measure: bool,
        begun: float,
    ) -> None:
        """u and c of each micro-batch to each teacher, then their step.

        Args:
            micros: of this worker.
            outputs: the student's at θ.
            directions: v, and of an independent quiz where the round is measured; none where ω = 0.
            quiz: this worker's shares of the quiz losses `before` and `after`, for the log.
        """
        teachers, rank = self.context.teachers, self.context.worker.rank
        raw = [self._derivatives(theta, v, micros, outputs) for v in directions]
        self._taken = {(b.step, b.micro): u for b, (u,) in zip(now.batches, raw[0], strict=True)} if raw else {}
        along = [self._centred(now, theta, us) for us in raw]
        for k, (batch, micro, at) in enumerate(zip(now.batches, micros, outputs, strict=True)):
            parts = [cotangent.cotangents(micro, at, us[k])[0] for us in along] or [torch.zeros_like(micro.served[0])]
            teachers.send((batch.step, rank, batch.micro), self._messages(batch, at, parts))
        self._count(now.step, teachers.step(measure), quiz, begun)

    def _derivatives(self, theta: Params, v: Params, micros: Sequence[Micro], outputs: list[Outputs]) -> list[Outputs]:
        pairs = zip(micros, outputs, strict=True)
        return [cotangent.derivative(self.route, theta, v, micro, output) for micro, output in pairs]

    def _centred(self, now: Round, theta: Params, us: list[Outputs]) -> list[Outputs]:
        if not self.settings.centred:
            return us
        like = next(iter(theta.values())).new_zeros(self.context.task.classes)
        rows = now.batches[0].global_rows if now.batches else 1
        return [(u,) for u in cotangent.centred([u for (u,) in us], like, rows, self._reduce)]

    def _messages(
        self, batch: Batch, outputs: Outputs, cotangents_KBC: list[torch.Tensor]
    ) -> dict[int, TeacherFeedback]:
        wire = np.float64 if self.context.dtype == torch.float64 else np.float32
        parts = [part.cpu().numpy().astype(wire) for part in cotangents_KBC]
        student = outputs[0].detach().cpu().numpy().astype(wire) if self.settings.teacher_kd else None
        reference_logits = (
            self.context.teachers.reference_logits(batch.ids) if self.settings.teacher_reference_kl else None
        )
        return {
            k: TeacherFeedback(
                cotangent=parts[0][k],
                global_rows=batch.global_rows,
                second=parts[1][k] if len(parts) > 1 else None,
                student=student,
                reference=reference_logits[k] if reference_logits is not None else None,
            )
            for k in self.context.teachers.trainable
        }

    def _count(
        self, step: int, stepped: dict[str, dict[str, float]], quiz: dict[str, torch.Tensor], begun: float
    ) -> None:
        worker = self.context.worker
        sums = collective.sum_scalars([float(value) for value in quiz.values()], worker.device, worker.world)
        losses = dict(zip(quiz, sums, strict=True))
        seconds = time.perf_counter() - begun
        self.tally.count_round(seconds, self.context.teachers.wire_bytes)
        if self.context.log is None:
            return
        steps = {name: TeacherStep.model_validate(fields) for name, fields in stepped.items()}
        self.tally.measured(losses, steps)
        self.context.log.write(
            FeedbackEvent(
                step=step + 1,
                epoch=(step + 1) / self.context.steps_per_epoch,
                teachers=steps,
                seconds=seconds,
                wire_bytes=self.tally.wire_bytes,
                quiz_before=losses.get("before"),
                quiz_after=losses.get("after"),
            )
        )

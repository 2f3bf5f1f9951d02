"""One worker's training loop: batches of the global order, an optimizer step each, evaluations and checkpoints."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raykd import models
from raykd.data import order
from raykd.data.batch import Batch
from raykd.data.encoding import Encoder
from raykd.errors import RunError
from raykd.files import replacing_folder
from raykd.models import forward
from raykd.records.events import EvalEvent, Event, PlanEvent, WorkersEvent
from raykd.records.log import MetricsLog
from raykd.training import collective
from raykd.training.batch_schedule import BatchSchedule
from raykd.training.checkpoint import load_checkpoint, save_checkpoint
from raykd.training.dropout import dropout_seed
from raykd.training.evaluate import mean_loss, predict_shared
from raykd.training.job import Job, Outcome, WorkerContext
from raykd.training.optim import build_optimizer, learning_rate, set_rate, steps_per_epoch, total_steps
from raykd.training.train_metrics import TrainMetrics

log = logging.getLogger(__name__)
Report = Callable[[dict[str, Any]], None]


def train(job: Job, worker: WorkerContext, report: Report, stop: Callable[[], bool]) -> Outcome:
    """Trains from the last checkpoint, if there is one, to the end or until `stop()`; bit-equal to a run never stopped.

    Args:
        report: called after each evaluation and its checkpoint, on every worker, with the scores, `loss`, `step`,
            `epoch`, `now` (the metric of this evaluation), `value` (the best so far), `asked` (rows times teachers
            asked for) and `evaluation` (its number, which schedulers of trials go by).
        stop: asked on worker 0; when true the worker saves a checkpoint and returns with `interrupted`.

    Raises:
        RunError: at an evaluation logits, loss or score are not finite.
    """
    with torch.random.fork_rng(devices=[worker.device] if worker.device.type == "cuda" else []):
        threads = torch.get_num_threads()
        torch.set_num_threads(worker.threads)
        training = TrainLoop(job, worker, report, stop)
        try:
            return training.run()
        finally:
            training.step_fn.close()
            torch.set_num_threads(threads)


class TrainLoop:
    """One worker's model, optimizer, data and position; `run` may be called again after a stop."""

    def __init__(self, job: Job, worker: WorkerContext, report: Report, stop: Callable[[], bool]) -> None:
        self.job, self.worker, self.report, self.stop = job, worker, report, stop
        self.settings = settings = job.settings
        self.dtype, reason = forward.choose_dtype(settings.precision, worker.device)
        weights = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.model: PreTrainedModel
        self.tokenizer: PreTrainedTokenizerBase
        self.model, self.tokenizer = models.load(job.model, weights)
        if settings.freeze_embeddings:
            models.freeze_embeddings(self.model)
        self.model.to(worker.device)  # type: ignore[arg-type]  # the decorator hides nn.Module's signature
        self.step_fn = job.step.build(job, worker)
        if self.step_fn.beside is not None:
            self.step_fn.beside.to(worker.device)
        self.optimizer = build_optimizer(self.model, settings, self.step_fn.beside, self.step_fn.beside_rate)
        self.train_rows = job.train.rows()
        self.encoder = Encoder(self.tokenizer, self.train_rows, job.max_length)
        self.validation_rows = job.validation.rows()
        same_file = job.validation.split.path == job.train.split.path
        self.validation_encoder = (
            self.encoder if same_file else Encoder(self.tokenizer, self.validation_rows, job.max_length)
        )
        self.per_epoch = steps_per_epoch(len(job.train.ids), settings)
        self.total = total_steps(len(job.train.ids), settings)
        self.checkpoints = Path(job.folder) / "checkpoints"
        self.log = MetricsLog(Path(job.metrics)) if worker.rank == 0 else None
        self.schedule = BatchSchedule(job)
        self._best_before = Path()
        self.outcome = Outcome(total_steps=self.total)
        checkpoint = self._resume()
        if checkpoint is not None:
            self.step_fn.restore(checkpoint)
        self.step_fn.timers = self.outcome.timers
        if worker.rank == 0:
            if settings.min_workers is not None:
                self._write(WorkersEvent(step=self.outcome.step, workers=worker.world))
            log.info("worker of %d on %s, %d threads, %s", worker.world, worker.device, worker.threads, reason)

    def run(self) -> Outcome:
        """All steps that are left."""
        rows, settings = len(self.job.train.ids), self.settings
        if self.outcome.step == 0:
            self._write(
                PlanEvent(
                    steps=self.total,
                    epochs=settings.epochs,
                    samples=rows,
                    batch_size=settings.batch_size,
                    metric=self.job.task.best_by,
                )
            )
            self.step_fn.evaluated(0, 0.0)
        train_metrics = TrainMetrics(self.outcome)
        while self.outcome.step < self.total and not self._out_of_patience():
            step = self.outcome.step
            self._one_step(step, train_metrics)
            self.outcome.step, self.outcome.epochs = step + 1, (step + 1) / self.per_epoch
            if (step + 1) % settings.log_every == 0 or step + 1 == self.total:
                self._log(step, train_metrics)
            if self._evaluation_due(step + 1):
                metrics = self._evaluate()
                self._save()
                # After the checkpoint: a trial that is stopped or copied here has one of this very step.
                self.report(metrics)
            elif settings.checkpoint_every and (step + 1) % settings.checkpoint_every == 0:
                self._save()
            if self._stop_asked(step):
                self._save()
                self.outcome.interrupted = True
                return self.outcome
        self.outcome.extras = self.step_fn.finalize(Path(self.job.folder))
        return self.outcome

    def _one_step(self, step: int, train_metrics: TrainMetrics) -> None:
        begun = time.perf_counter()
        global_ids = self.schedule.batch(step)
        self.step_fn.prefetch(step, [self._mine(step + k) for k in range(self._horizon(step))])
        batches = [
            self._batch(ids, step, micro, len(global_ids))
            for micro, ids in enumerate(np.array_split(self._mine(step), self.settings.gradient_accumulation))
            if len(ids)
        ]
        self.model.train()
        self.step_fn.begin(self.model, step, batches)
        for batch in batches:
            torch.manual_seed(dropout_seed(self.job.seed, step, batch.micro, self.worker.rank))
            with forward.autocast(self.worker.device, self.dtype):
                loss = self.step_fn.loss(self.model, batch)
            loss.total.backward()
            train_metrics.add(loss)
        collective.sum_gradients(self._parameters(), self.worker.world)
        self.step_fn.gradient_summed(self.model)
        max_norm = self.settings.max_grad_norm if self.settings.max_grad_norm is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters(), max_norm)
        set_rate(self.optimizer, learning_rate(self.settings, step, self.total))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_fn.end(self.model, self.optimizer, batches)
        train_metrics.stepped(len(global_ids), time.perf_counter() - begun, norm)

    def _parameters(self) -> list[torch.nn.Parameter]:
        """Of the model and of what is trained beside it."""
        beside = self.step_fn.beside
        return [*self.model.parameters(), *(beside.parameters() if beside is not None else ())]

    def _batch(self, ids: np.ndarray, step: int, micro: int, global_rows: int) -> Batch:
        device = self.worker.device
        encoded = {name: tensor.to(device) for name, tensor in self.encoder.encode(ids).items()}
        labels = torch.from_numpy(self.train_rows.labels(ids)).to(device)
        return Batch(ids, labels, encoded, step, micro, global_rows)

    def _mine(self, step: int) -> np.ndarray:
        return order.share(self.schedule.batch(step), self.worker.rank, self.worker.world)

    def _horizon(self, step: int) -> int:
        """How many batches, this one included, to announce: within the epoch, so that one order is held at a time."""
        return min(self.job.ahead + 1, self.per_epoch - step % self.per_epoch, self.total - step)

    def _evaluation_due(self, done: int) -> bool:
        return done == self.total or done % (self.settings.eval_every or self.per_epoch) == 0

    def _evaluate(self) -> dict[str, Any]:
        logits = predict_shared(self.model, self.validation_encoder, self.job.validation.ids, self.worker)
        labels = self.validation_rows.labels(self.job.validation.ids)
        scores = self.job.task.scores(logits, labels)
        value, loss = scores[self.job.task.best_by], mean_loss(self.job.task, logits, labels)
        self._check_finite(loss, value)
        outcome, best = self.outcome, value > self.outcome.best_value
        if best:
            outcome.best_value, outcome.best_scores, outcome.best_step = value, scores, outcome.step
            outcome.worse_evaluations = 0
            outcome.best = str(self.checkpoints / f"best-{outcome.step:08d}")
            if self.worker.rank == 0:
                self._save_best(Path(outcome.best), logits)
        else:
            outcome.worse_evaluations += 1
        self._write(EvalEvent(step=outcome.step, epoch=outcome.epochs, scores=scores, loss=loss, best=bool(best)))
        self.step_fn.evaluated(outcome.step, outcome.epochs)
        position = {"step": outcome.step, "epoch": outcome.epochs, "now": value, "value": outcome.best_value}
        return {**scores, **position, "loss": loss, "asked": outcome.timers.asked, "evaluation": self._evaluation()}

    def _check_finite(self, loss: float, value: float) -> None:
        """RunError where the model has diverged; what was best before stays on disk."""
        if math.isfinite(loss) and math.isfinite(value):
            return
        outcome, metric = self.outcome, self.job.task.best_by
        number = f"its loss is {loss:g}" if not math.isfinite(loss) else f"its {metric} is {value:g}"
        kept = f"; the best so far, {metric} {outcome.best_value:.4f} at step {outcome.best_step}, is in {outcome.best}"
        raise RunError(
            self.job.name,
            f"{number} at step {outcome.step} of {self.total}: training has diverged{kept if outcome.best else ''}",
            "lower its lr, set max_grad_norm, or use precision: float32",
        )

    def _evaluation(self) -> int:
        """Which one this is, from 1; the last counts as the one before, since nothing is left to be decided there."""
        every = self.settings.eval_every or self.per_epoch
        return self.outcome.step // every if self.outcome.step < self.total else -(-self.total // every) - 1

    def _save_best(self, folder: Path, logits: np.ndarray) -> None:
        with replacing_folder(folder) as draft:
            models.save(self.model, self.tokenizer, draft)
            self.step_fn.save_best(draft)
            np.save(draft / "logits.npy", logits)

    def _save(self) -> None:
        if self.worker.rank == 0:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "outcome": self.outcome.as_dict(),
            }
            if self.step_fn.beside is not None:
                state["beside"] = self.step_fn.beside.state_dict()
            save_checkpoint(self.checkpoints, self.outcome.step, state, beside=self.step_fn.save)
            for old in self.checkpoints.glob("best-*"):
                # The best of the checkpoint before stays: a damaged newest one sends a resumed run back to it.
                if str(old) != self.outcome.best and old != self._best_before:
                    shutil.rmtree(old, ignore_errors=True)
            self._best_before = Path(self.outcome.best)
        collective.barrier(self.worker.world)

    def _resume(self) -> Path | None:
        """Takes up the last checkpoint; returns its folder, for the step."""
        checkpoint = load_checkpoint(self.checkpoints)
        if checkpoint is not None:
            state = checkpoint.state
            self.model.load_state_dict(state["model"])
            if self.step_fn.beside is not None:
                self.step_fn.beside.load_state_dict(state["beside"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.outcome = Outcome.from_dict(state["outcome"])
            self.outcome.interrupted = False
            self._best_before = Path(self.outcome.best)
            log.info("resuming at step %d of %d", self.outcome.step, self.total)
        if self.log is not None:
            self.log.truncate(self.outcome.step)
        return checkpoint.folder if checkpoint is not None else None

    def _log(self, step: int, train_metrics: TrainMetrics) -> None:
        rate, worker = learning_rate(self.settings, step, self.total), self.worker
        self._write(train_metrics.event(step + 1, self.outcome.epochs, rate, worker.device, worker.world))

    def _write(self, event: Event) -> None:
        if self.log is not None:
            self.log.write(event)

    def _out_of_patience(self) -> bool:
        return (
            self.settings.early_stopping_patience is not None
            and self.outcome.worse_evaluations >= self.settings.early_stopping_patience
        )

    def _stop_asked(self, step: int) -> bool:
        """Worker 0's answer, at once where it is alone, else at the lines of the log so that it costs no collective."""
        if self.worker.world == 1:
            return self.stop()
        if (step + 1) % self.settings.log_every:
            return False
        asked = float(self.worker.rank == 0 and self.stop())
        return collective.sum_scalars([asked], self.worker.device, self.worker.world)[0] > 0

"""A teacher that learns from its student: cotangents on its logits in, an optimizer step, a new version.

docs/methods.md, section "The teacher's step":

θ_T ← step( ω Jᵀc + γ ∇CE_T + κ ∇KD_T + a ∇KL(reference ‖ T) ), all one cotangent on the logits of the served rows.
A rank belongs to one attempt of one run and dies with it; a teacher of R ranks has R equal copies whose gradients are
summed. Rows weigh 1 / global rows, so shards of any size sum to the mean over the batch.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray.util
import torch
import torch.distributed as dist

from raykd import models
from raykd.config import CotangentFeedbackConfig, OptimConfig
from raykd.data.splits import Split
from raykd.data.tasks import Task
from raykd.errors import TeacherError, TrainerLost
from raykd.models import forward
from raykd.ray_errors import first_line
from raykd.teachers.feedback.gradient_metrics import flat_gradient, gradient_metrics
from raykd.teachers.feedback.losses import TeacherLosses
from raykd.teachers.feedback.message import Key, TeacherFeedback
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.replica import ActorResources, Answer
from raykd.teachers.teacher_model import TeacherModel
from raykd.training import collective
from raykd.training.evaluate import predict
from raykd.training.optim import build_optimizer, learning_rate

log = logging.getLogger(__name__)
FILE = "teacher-{name}.pt"


@dataclass(frozen=True)
class TeacherTrainerSpec:
    """What a rank is made of.

    Attributes:
        teacher: the frozen one that it is a copy of.
        rounds: planned in the whole run; the learning rate's schedule runs over them.
        temperature: τ of its own divergence from the student (κ).
    """

    teacher: TeacherModel
    task: Task
    feedback: CotangentFeedbackConfig
    temperature: float
    rounds: int
    actor_resources: ActorResources

    @property
    def schedule(self) -> OptimConfig:
        """The teacher's optimizer settings in the form that `training.optim` takes."""
        settings = self.feedback
        return OptimConfig(
            lr=settings.teacher_lr,
            weight_decay=settings.teacher_weight_decay,
            warmup_ratio=settings.teacher_warmup_ratio,
            schedule=settings.teacher_schedule,
            max_grad_norm=settings.teacher_max_grad_norm,
        )


@dataclass
class _ServedBatch:
    split: Split
    ids: np.ndarray
    logits_BC: torch.Tensor | None
    message: TeacherFeedback | None = None


class TeacherTrainer:
    """One rank. A plain actor: its calls run in one thread, in the order in which a worker sends them."""

    def __init__(self, spec: TeacherTrainerSpec) -> None:
        torch.set_num_threads(spec.actor_resources.threads)
        self.spec, self.version, self.world = spec, 0, 1
        device, reason = forward.choose_device(spec.actor_resources.num_gpus)
        self._where = f"teacher {spec.teacher.name}"
        # It learns in full precision, also where its forward pass is autocast to bfloat16.
        self._local = LocalTeacher(spec.teacher, device, "float64" if spec.teacher.dtype == "float64" else "float32")
        self._model, self._dtype = self._local.model, forward.DTYPES[spec.teacher.dtype]
        self._terms = TeacherLosses(spec.feedback, spec.task, spec.temperature, self._local)
        models.freeze_all_but(
            self._model, models.trainable_names(self._model, spec.feedback.trainable, self._where)
        )  # fmt: skip
        self._parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._origin = [parameter.detach().clone() for parameter in self._parameters]
        self._optimizer = self._build_optimizer()
        self._open: dict[Key, _ServedBatch] = {}
        self._previous: torch.Tensor | None = None
        log.info("learning teacher %s on %s, %d threads", spec.teacher.name, reason, spec.actor_resources.threads)

    def _build_optimizer(self) -> torch.optim.Optimizer:
        settings = self.spec.schedule
        if self.spec.feedback.teacher_optimizer == "adamw":
            return build_optimizer(self._model, settings)
        return torch.optim.SGD(self._parameters, lr=settings.lr, weight_decay=settings.weight_decay)

    # Meeting the other ranks

    def address(self) -> str:
        """Where rank 0 can be met."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"

    def join(self, address: str, rank: int, world: int) -> None:
        """Meets the other ranks; called on all of them at once."""
        backend = collective.backend(self._local.device)
        dist.init_process_group(backend, init_method=address, rank=rank, world_size=world)
        self.world = world

    # A round

    def serve(self, version: int, split: Split, ids: np.ndarray, key: Key | None) -> Answer:
        """Logits [len(ids), C] of this version.

        Args:
            key: names rows that feedback will follow for; None where none will.

        Raises:
            TeacherError: the version is not this one, or the output is not finite.
        """
        begun = time.perf_counter()
        self._check_version(version)
        hold = key is not None and not self.spec.feedback.recompute
        with torch.enable_grad() if hold else torch.no_grad():
            logits_BC = self._forward(split, ids)
        if not bool(torch.isfinite(logits_BC).all()):
            raise TeacherError(self._where, f"its logits are not finite at version {version}", "lower teacher_lr")
        if key is not None:
            self._open[key] = _ServedBatch(split, ids, logits_BC if hold else None)
        logits = logits_BC.detach().cpu().numpy()
        teacher = self.spec.teacher
        seconds = time.perf_counter() - begun
        return Answer(teacher.identity, self.version, split.texts, ids, logits, seconds)

    def feedback(self, version: int, key: Key, message: TeacherFeedback) -> None:
        """Stores the student's feedback on served rows; `step` uses it.

        Raises:
            TeacherError: for another version, for rows that were not served, twice, of a wrong shape, or not finite.
        """
        self._check_version(version)
        served = self._open.get(key)
        if served is None:
            raise TeacherError(self._where, f"feedback for batch {key}, which was not served at version {version}")
        if served.message is not None:
            raise TeacherError(self._where, f"feedback for batch {key} came twice", "it was not used")
        shape = (len(served.ids), self.spec.teacher.classes)
        for part in (message.cotangent, message.second, message.student, message.reference):
            if part is not None and part.shape != shape:
                raise TeacherError(self._where, f"feedback of shape {part.shape} for logits of shape {shape}")
            if part is not None and not np.isfinite(part).all():
                raise TeacherError(self._where, "feedback is not finite", "lower the student's learning rate")
        served.message = message

    def step(self, version: int, measure: bool) -> dict[str, float]:
        """An optimizer step on the stored feedback; the version is one higher afterwards. Called on all ranks at once.

        Returns:
            grad_norm, lr, version; where measured the norm of each term and the cosines: docs/methods.md,
            section "The teacher's step".
        """
        self._check_version(version)
        missing = [key for key, served in self._open.items() if served.message is None]
        if missing:
            raise TeacherError(self._where, f"batch {missing[0]} was served for feedback and none came")
        measured = self._measured() if measure else {}
        for served in self._open.values():
            logits_BC = self._graph(served)
            cotangent_BC = torch.stack(list(self._cotangents(served, logits_BC).values())).sum(0)
            torch.autograd.backward(logits_BC, cotangent_BC)
        self._open.clear()
        with self._together():
            collective.sum_gradients(self._parameters, self.world)
        settings = self.spec.schedule
        max_norm = settings.max_grad_norm if settings.max_grad_norm is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, max_norm)
        rate = learning_rate(settings, self.version, max(self.spec.rounds, self.version + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.version += 1
        return {"version": self.version, "grad_norm": float(norm), "lr": rate, **measured}

    def _measured(self) -> dict[str, float]:
        """`gradient_metrics` of this round; the same on every rank."""
        size, dtype = sum(p.numel() for p in self._parameters), self._parameters[0].dtype
        # All terms, also on a rank that was asked nothing: the sums over ranks are collective.
        flats = {name: torch.zeros(size, dtype=dtype) for name in self._terms.names}
        for served in self._open.values():
            logits_BC = self._graph(served)
            for name, cotangent in self._cotangents(served, logits_BC, measured=True).items():
                flats[name] += flat_gradient(logits_BC, self._parameters, cotangent)
        with self._together():
            flats = dict(zip(flats, collective.sum_tensors(list(flats.values()), self.world), strict=True))
        metrics = gradient_metrics(flats, self._previous)
        self._previous = flats["feedback"]
        return metrics

    def _cotangents(
        self, served: _ServedBatch, logits_BC: torch.Tensor, measured: bool = False
    ) -> dict[str, torch.Tensor]:
        assert served.message is not None
        return self._terms.cotangents(served.split, served.ids, logits_BC, served.message, measured)

    def _graph(self, served: _ServedBatch) -> torch.Tensor:
        if served.logits_BC is None:
            return self._forward(served.split, served.ids)
        return served.logits_BC

    def _forward(self, split: Split, ids: np.ndarray) -> torch.Tensor:
        with forward.autocast(self._local.device, self._dtype):
            return self._local.forward(split, ids)

    # Beside the rounds

    def evaluate(self, split: Split, ids: np.ndarray) -> np.ndarray:
        """Logits [len(ids), C] in the task's column order, of the version that it has now."""
        with forward.autocast(self._local.device, self._dtype):
            return predict(self._model, self._local.encoder(split), ids, self._local.device)[:, self._local.columns]

    def drift(self) -> float:
        """‖θ − θ₀‖ / ‖θ₀‖ of what learns: the distance from the teacher that it began as."""
        moved = sum(float((p.detach() - o).square().sum()) for p, o in zip(self._parameters, self._origin, strict=True))
        return float(np.sqrt(moved / sum(float(o.square().sum()) for o in self._origin)))

    def save(self, folder: Path) -> None:
        """Writes what a rank resumes from; all ranks are equal, so one writes."""
        state = {
            "version": self.version,
            "parameters": [parameter.detach().cpu() for parameter in self._parameters],
            "optimizer": self._optimizer.state_dict(),
            "previous": self._previous,
        }
        torch.save(state, folder / FILE.format(name=self.spec.teacher.name))

    def restore(self, folder: Path) -> int:
        """Takes up a saved state; returns its version."""
        path = folder / FILE.format(name=self.spec.teacher.name)
        state = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for parameter, saved in zip(self._parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        self.version, self._previous = state["version"], state["previous"]
        self._open.clear()
        return self.version

    def export(self, folder: Path) -> None:
        """Writes the trained teacher as a Hugging Face checkpoint."""
        models.save(self._model, self._local.tokenizer, folder)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Around what all ranks do at once: torch says of a dead one only that its connection is closed."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1:
                raise
            raise TrainerLost(self._where, f"a rank of it is gone: {first_line(error)}") from None

    def _check_version(self, version: int) -> None:
        if version != self.version:
            raise TeacherError(self._where, f"asked for version {version}, it is at {self.version}", "it was not used")

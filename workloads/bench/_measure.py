"""Clocks of the measuring programs: a student's run from its first request to the teachers, a service that is warm."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import ray

from raykd.records.log import MetricsLog
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.session import TeacherSession
from raykd.training import loop
from raykd.training.job import Job, Step, StepFactory, WorkerContext

from ._stage import Stage

NEVER = 1 << 30


@dataclass
class _Clocked:
    """A step's factory that notes when it turns to the teachers and when it has them."""

    inner: StepFactory
    begun: float = 0.0
    built: float = 0.0

    def build(self, job: Job, worker: WorkerContext) -> Step:
        self.begun = time.perf_counter()
        step = self.inner.build(job, worker)
        self.built = time.perf_counter()
        return step


@dataclass(frozen=True)
class Span:
    """Seconds of a student's run; loading the student comes before both.

    Attributes:
        opening_s: registering with the teachers' services, or opening their tables, or loading them into this process.
        training_s: everything after that.
        waiting_s: of `training_s`, waiting for soft targets.
        handling_s: of `training_s`, asking for them ahead of time, weighing and comparing.
    """

    opening_s: float
    training_s: float
    waiting_s: float
    handling_s: float

    @property
    def seconds(self) -> float:
        """From the first request to the teachers until the end."""
        return self.opening_s + self.training_s


def train(job: Job, worker: WorkerContext, steps: int | None = None) -> Span:
    """Runs the real loop: to the end of the job, or until `steps` steps are done and no checkpoint is written yet."""
    clocked = _Clocked(job.step)
    asked, ended = 0, 0.0

    def stop() -> bool:  # asked after each step
        nonlocal asked, ended
        asked, ended = asked + 1, time.perf_counter()
        return asked == steps

    outcome = loop.train(replace(job, step=clocked), worker, report=lambda scores: None, stop=stop)
    ended = time.perf_counter() if steps is None else ended
    clock = outcome.timers
    return Span(clocked.built - clocked.begun, ended - clocked.built, clock.wait_s, clock.targets_s)


class _PausedLoop(loop.TrainLoop):
    """Pauses without a checkpoint: writing one would slow down the arm whose turn is next."""

    def _save(self) -> None:
        """Writes nothing: no pause is resumed from disk."""


class Blocks:
    """A student that trains some steps at each call and then pauses: the real loop, stopped and resumed.

    Args:
        block: steps of a call.
        first: steps of the first call, which is a warm-up; default `block`.
        settle: waits, on the clock, for what the last steps have left to other processes.
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        step: StepFactory,
        block: int,
        first: int | None = None,
        settle: Callable[[Step], None] = lambda step: None,
    ) -> None:
        job = stage.job(name, step, epochs=NEVER, eval_every=NEVER)
        self._block, self._settle = block, settle
        self._until = first or block
        self._worker = _PausedLoop(job, stage.worker, report=lambda scores: None, stop=self._done)

    def samples_per_s(self) -> float:
        """Over the next block, by the loop's own clock: all that a step does, no evaluation and no checkpoint."""
        samples, seconds = self._next()
        return samples / seconds

    def seconds_per_step(self) -> float:
        """The same, the other way round."""
        return self._next()[1] / self._block

    @property
    def step(self) -> Step:
        """The step that the loop calls."""
        return self._worker.step_fn

    def close(self) -> None:
        """Lets go of the teachers."""
        self._worker.step_fn.close()

    def _next(self) -> tuple[int, float]:
        outcome = self._worker.outcome
        samples, seconds = outcome.samples, outcome.train_s
        self._worker.run()
        self._until += self._block
        begun = time.perf_counter()
        self._settle(self.step)
        settled = time.perf_counter() - begun
        return outcome.samples - samples, outcome.train_s - seconds + settled

    def _done(self) -> bool:
        return self._worker.outcome.step >= self._until


@contextlib.contextmanager
def warm_service(stage: Stage, spec: TeacherServiceSpec) -> Iterator[TeacherSession]:
    """A teacher's service whose replica is up, its model loaded and used: it has answered the validation rows.

    The training rows are made known to it but not asked for, since a service that has nothing left to do lets its
    replicas go.
    """
    train, validation = stage.request("train"), stage.request("validation")
    with TeacherSession([spec], {"train": train}, run="bench") as serving:
        # Held until the end: the service lives as long as the handle that created it.
        service = connect(spec)
        ray.get(service.register.remote(train.split, "warm-up"))
        client = TeacherClient(
            TargetSource(spec.teacher, validation.split, spec.cache, "warm-up", validation.ids, spec)
        )
        client.get(validation.ids)
        client.close()
        yield serving


def teachers_pass(stage: Stage, serving: TeacherSession) -> float:
    """Seconds from announcing the training rows until their table is sealed, as the driver of a run waits for it."""
    begun = time.perf_counter()
    serving.start(MetricsLog(stage.folder / "pass.jsonl"))
    serving.wait(threading.Event())
    return time.perf_counter() - begun


def median(values: Sequence[float]) -> float:
    """The median, rounded for JSON."""
    return round(float(statistics.median(values)), 4)

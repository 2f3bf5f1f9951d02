"""Bench `serving` (docs/results.md): what soft targets cost a student that only has to read or to receive them.

    raykd bench serving --json          at most 8 minutes on 2 cores
    raykd bench serving --cold --json   at most 8 minutes on 2 cores

Without `--cold`: samples/s of a student that reads a sealed table ÷ of the same student without a teacher, to reach
0.97. Both train a block of steps in turn, the same batches, through the loop of a real run, without evaluations and
checkpoints.

With `--cold`: the first epoch while a teacher elsewhere still computes ÷ max(T, S), to reach 1.10. The teacher sleeps
for each row, as one on another machine would leave these cores alone, and sleeps so long that T ≈ S. The clock starts
when the student first turns to the service, which is when the rows are announced, and ends with the last step of the
epoch. Not in it, because they are paid once a run whatever its length: loading the student, starting the service and
its replica (which has answered the validation rows before), evaluation, checkpoint.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raykd import runtime
from raykd.records.log import MetricsLog
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.session import TeacherSession
from raykd.training.job import Job, Step, StepFactory, WorkerContext
from raykd.training.supervised import SupervisedStepFactory

from ._measure import NEVER, Blocks, Span, median, teachers_pass, train, warm_service
from ._rounds import FEWEST_STEPS, SECONDS, Rounds, add_options, summary
from ._sleeper import Sleeper, set_speed
from ._stage import Shape, Stage, staged
from ._tables import nobody, sealed_source

log = logging.getLogger(__name__)
WARM_GOAL, COLD_GOAL = 0.97, 1.10
WARM_UP_STEPS = 10


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        block: steps of a block.
        threads: of torch; None for all cores.
        seconds: that the rounds may take.
    """

    student: Shape
    rows: int
    block: int = 0
    threads: int | None = None
    seconds: float = SECONDS


WARM = Sizes(Shape(layers=2), rows=256, block=2)
COLD = Sizes(Shape(layers=2), rows=1600)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratio, goal, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench serving", description=__doc__.splitlines()[0])
    parser.add_argument("--cold", action="store_true", help="the first epoch, with a teacher elsewhere")
    add_options(parser)
    options = parser.parse_args(args)
    measure, sizes = (cold, COLD) if options.cold else (warm, WARM)
    return measure(replace(sizes, threads=options.threads, seconds=options.seconds))


def warm(sizes: Sizes) -> dict[str, Any]:
    """A sealed table against no teacher at all."""
    with staged(sizes.rows, sizes.student, sizes.student, sizes.threads) as stage:
        arms = {
            "sealed": Blocks(stage, "sealed", stage.distil(sealed_source(stage, "sealed")), sizes.block),
            "alone": Blocks(stage, "alone", SupervisedStepFactory(), sizes.block),
        }
        # An epoch each beforehand: later ones find every row tokenised.
        for arm in arms.values():
            for _ in range(-(-stage.steps_an_epoch // sizes.block)):
                arm.samples_per_s()
        speeds: dict[str, list[float]] = {name: [] for name in arms}
        ratios: list[float] = []
        rounds = Rounds(sizes.seconds, FEWEST_STEPS)
        while rounds.go_on(ratios):
            # First one arm, then the other: what slows the machine down for a while slows both.
            for name in sorted(arms, reverse=bool(len(ratios) % 2)):
                speeds[name].append(arms[name].samples_per_s())
            ratios.append(speeds["sealed"][-1] / speeds["alone"][-1])
        return {
            "bench": "serving",
            **summary(ratios, WARM_GOAL, at_least=True),
            "samples_per_s": median(speeds["sealed"]),
            "student_only_samples_per_s": median(speeds["alone"]),
            "ratios_of_rounds": [round(ratio, 4) for ratio in ratios],
            "threads": stage.worker.threads,
            "batch_size": stage.config.train.batch_size,
        }


@dataclass(frozen=True)
class _Round:
    """A first epoch, the teacher's pass, and epochs on a sealed table before and after them."""

    before: Span
    pass_s: float
    first: Span
    after: Span

    @property
    def student_s(self) -> float:
        """S, of both epochs: what else runs on the machine may change in the meantime."""
        return (self.before.seconds + self.after.seconds) / 2

    @property
    def ratio(self) -> float:
        return self.first.seconds / max(self.pass_s, self.student_s)


def cold(sizes: Sizes) -> dict[str, Any]:
    """The first epoch with a teacher that is still at work, elsewhere."""
    with staged(sizes.rows, sizes.student, sizes.student, sizes.threads) as stage, runtime.connected(stage.config):
        train(stage.job("warm-up", SupervisedStepFactory(), max_steps=WARM_UP_STEPS), stage.worker)
        done: list[_Round] = []
        before, rounds = _sealed_epoch(stage, "start"), Rounds(sizes.seconds)
        while rounds.go_on([each.ratio for each in done]):
            done.append(_cold_round(stage, len(done), before))
            before = done[-1].after
    student_s, teacher_s = median([each.student_s for each in done]), median([each.pass_s for each in done])
    ratio = summary([each.ratio for each in done], COLD_GOAL)
    near = abs(teacher_s / student_s - 1) <= 0.1
    return {
        "bench": "serving --cold",
        **ratio,
        "holds": ratio["holds"] and near,
        "interval_holds": ratio["interval_holds"] and near,
        "first_epoch_s": median([each.first.seconds for each in done]),
        "T_s": teacher_s,
        "S_s": student_s,
        "t_within_10_percent": near,
        "opening_s": median([each.first.opening_s for each in done]),
        "waiting_s": median([each.first.waiting_s for each in done]),
        "handling_s": median([each.first.handling_s for each in done]),
        "ratios_of_rounds": [round(each.ratio, 4) for each in done],
        "threads": stage.worker.threads,
        "rows": sizes.rows,
    }


def _cold_round(stage: Stage, k: int, before: Span) -> _Round:
    """T with a teacher that is as fast as the student was, the first epoch with another one like it, S again."""
    seconds_per_row = before.seconds / stage.rows
    with warm_service(stage, _sleeping(stage, f"pass-{k}", seconds_per_row)) as serving:
        pass_s = teachers_pass(stage, serving)
    with warm_service(stage, _sleeping(stage, f"cold-{k}", seconds_per_row)) as serving:
        first = _epoch(stage, f"cold-{k}", _Announced(stage, serving))
    done = _Round(before, pass_s, first, _sealed_epoch(stage, f"sealed-{k}"))
    line = "round %d: S %.2f s before and %.2f s after, T %.2f s, first epoch %.2f s"
    log.info(line, k, before.seconds, done.after.seconds, pass_s, first.seconds)
    return done


def _sealed_epoch(stage: Stage, name: str) -> Span:
    return _epoch(stage, name, stage.distil(sealed_source(stage, name)))


@dataclass(frozen=True)
class _Announced:
    """Announces the rows and lets the driver follow the pass, from when the student turns to its teacher."""

    stage: Stage
    serving: TeacherSession

    def build(self, job: Job, worker: WorkerContext) -> Step:
        """The student's step on the service."""
        self.serving.start(MetricsLog(self.stage.folder / "pass.jsonl"))
        (source,) = self.serving.sources("train")
        return self.stage.distil(source).build(job, worker)


def _epoch(stage: Stage, name: str, step: StepFactory) -> Span:
    """The first epoch of two, so that it ends without an evaluation."""
    return train(stage.job(name, step, epochs=2, eval_every=NEVER), stage.worker, steps=stage.steps_an_epoch)


def _sleeping(stage: Stage, name: str, seconds_per_row: float) -> TeacherServiceSpec:
    """A service as a run would start it, but its replica sleeps."""
    teacher = nobody(stage, name)
    set_speed(Path(teacher.folder), seconds_per_row)
    spec = service_spec(teacher, stage.config.teachers[0], stage.cache, threads=1, lease_s=None)
    return replace(spec, replica=Sleeper)

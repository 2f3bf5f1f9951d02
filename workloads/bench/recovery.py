"""Bench `recovery` (docs/results.md): seconds from a killed process to the next step. Reported; no row may be lost.

    raykd bench recovery --json       at most 8 minutes on 2 cores

`replica`, `service`: a client takes batches of 32 rows from a service with two replicas that sleep, one batch a step;
half-way one replica's, or the service's process is killed. To the next step, and the longest step after the kill: at
first it may have what it needs. Rows computed twice are counted; a batch that never comes ends the bench. `worker`: a
run with two workers through Ray Train and a checkpoint every ten steps; one worker is killed, and the
group starts again from the last checkpoint. Steps lost are those that are made again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import ray
import yaml

from raykd import runtime
from raykd.records.events import StepEvent
from raykd.records.log import read_events
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.service_actor import connect

from ._measure import median
from ._rounds import SECONDS, Rounds
from ._sleeper import Sleeper, set_speed
from ._stage import Shape, Stage, staged
from ._tables import nobody

STEP_ROWS, ROW_S = 32, 0.001
CHECKPOINT_EVERY, KILL_AFTER = 10, 25


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        rows: of the pass in which a process is killed.
        worker_rows: of the run whose worker is killed; 0: that part is left out.
        fewest: kills of each kind.
        seconds: that the rounds may take.
    """

    rows: int = 4000
    worker_rows: int = 1000
    fewest: int = 3
    seconds: float = SECONDS / 2


class KnownSleeper(Sleeper):
    """Leaves its process's number beside its speed, so that one can be killed."""

    def __init__(self, teacher: Any, actor_resources: Any) -> None:
        super().__init__(teacher, actor_resources)
        (Path(teacher.folder) / f"pid-{os.getpid()}").touch()


@dataclass(frozen=True)
class Killed:
    """What a kill cost.

    Attributes:
        next_step_s: from the kill to the next step.
        longest_step_s: the longest step that ends after the kill.
        twice: rows that were computed twice.
    """

    next_step_s: float
    longest_step_s: float
    twice: int


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns the seconds of each kind of kill, and what was lost or done twice."""
    parser = argparse.ArgumentParser("raykd bench recovery", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS / 2, help="that its rounds may take; default 240")
    return measure(replace(Sizes(), seconds=parser.parse_args(args).seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Replica and service in turn, round by round; then a worker."""
    shape = Shape(layers=1, width=16, heads=2)  # of a student that nobody trains
    killed: dict[str, list[Killed]] = {"replica": [], "service": []}
    with staged(sizes.rows, shape, shape, threads=1) as stage, runtime.connected(stage.config):
        rounds = Rounds(sizes.seconds, sizes.fewest)
        while rounds.go_on(*([each.next_step_s for each in kills] for kills in killed.values())):
            for kind, kills in killed.items():
                kills.append(_kill_in_a_pass(stage, f"{kind}-{len(kills)}", kind))
        found = {
            kind: {
                "next_step_s": median([each.next_step_s for each in kills]),
                "longest_step_s": median([each.longest_step_s for each in kills]),
                "rows_computed_twice": [each.twice for each in kills],
                "kills": len(kills),
            }
            for kind, kills in killed.items()
        }
        if sizes.worker_rows:
            found["worker"] = _kill_a_worker(stage.folder, sizes.worker_rows)
    return {"bench": "recovery", **found, "step_rows": STEP_ROWS, "row_s": ROW_S}


def _kill_in_a_pass(stage: Stage, name: str, kind: str) -> Killed:
    """A client takes all rows, batch by batch; half-way a process is killed."""
    teacher = nobody(stage, name)
    set_speed(Path(teacher.folder), ROW_S)
    plain = service_spec(teacher, stage.config.teachers[0], stage.cache, threads=1, lease_s=None)
    resources = replace(plain.actor_resources, num_cpus=0.0)  # they sleep
    spec = replace(plain, replica=KnownSleeper, replicas=2, actor_resources=resources, batch_tokens=STEP_ROWS * 32)
    service, train = connect(spec), stage.subset("train")
    try:
        client = TeacherClient(TargetSource(teacher, train.split, str(stage.cache), name, train.ids, spec))
        batches = [train.ids[k : k + STEP_ROWS] for k in range(0, len(train.ids), STEP_ROWS)]
        half = len(batches) // 2
        _take(client, batches[:half])
        before = _status(service)
        victim = before["pid"] if kind == "service" else _pid_of_a_replica(Path(teacher.folder))
        os.kill(victim, signal.SIGKILL)
        at = time.perf_counter()
        ends = _take(client, batches[half:])
        after = _status(service)["rows"]["forwards"]
        answered = after if kind == "replica" else before["rows"]["forwards"] + after
        steps = np.diff([at, *ends])
        return Killed(ends[0] - at, float(steps.max()), max(0, answered - len(train.ids)))
    finally:
        ray.kill(service)


def _take(client: TeacherClient, batches: Sequence[np.ndarray]) -> list[float]:
    """Takes batches as a student does, asking four ahead; when each was there."""
    ends = []
    for k, batch in enumerate(batches):
        client.prefetch(list(batches[k : k + 4]))
        client.get(batch)
        ends.append(time.perf_counter())
    return ends


def _pid_of_a_replica(folder: Path) -> int:
    alive = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    return min(pid for pid in alive if psutil.pid_exists(pid))


def _status(service: Any) -> dict[str, Any]:
    """Of a service that may be restarting."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return cast(dict[str, Any], ray.get(service.status.remote()))
        except ray.exceptions.RayError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _kill_a_worker(folder: Path, rows: int) -> dict[str, Any]:
    """A whole run in a process of its own, which is its workers' parent too."""
    run = folder / "worker"
    config = {
        "name": "worker",
        "data": {"source": "generated", "generated": {"rows": rows, "validation_rows": 100}, "max_length": 32},
        "teachers": [{"model": _tiny(32), "prepare": "finetune", "finetune": {"epochs": 1}}],
        "student": _tiny(16),
        "train": {
            "workers": 2, "batch_size": 16, "max_steps": 400, "epochs": 100, "log_every": 1, "threads": 1,
            "checkpoint_every": CHECKPOINT_EVERY,
        },
        "cache": str(folder / "worker-cache"),
    }  # fmt: skip
    path = folder / "worker.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = [sys.executable, "-m", "raykd.cli", "distill", str(path), "--output", str(run), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(process.communicate()[0]))
    reader.start()
    _until(lambda: len(_steps(run)) >= KILL_AFTER, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    saved = max(int(found.name.removeprefix("step-")) for found in (run / "checkpoints").glob("step-*"))
    done = len(_steps(run))
    workers[-1].kill()
    at = time.time()
    reader.join()
    if process.returncode != 0:
        raise RuntimeError(f"the run whose worker was killed ended with status {process.returncode}")
    times = [when for _, when in _steps(run)]
    # Steps after the last checkpoint are made, and written, again.
    return {
        "next_step_s": round(min(when for when in times if when > at + 0.5) - at, 2),
        "steps_lost": max(0, done - saved),
        "steps": json.loads(output[0].splitlines()[-1])["steps"],
        "kills": 1,
    }


def _tiny(width: int) -> dict[str, Any]:
    return {"layers": 1, "hidden_size": width, "heads": 2, "vocab_size": 400}


def _steps(run: Path) -> list[tuple[int, float]]:
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    return [(event.step, event.time) for event in read_events(path) if isinstance(event, StepEvent)]


def _until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the run whose worker is to be killed did not get to its steps")
        time.sleep(0.05)

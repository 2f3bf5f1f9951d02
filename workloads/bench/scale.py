"""Bench `scale` (docs/results.md): one teacher's service with many clients, and with several replicas.

    raykd bench scale --json          at most 8 minutes on 2 cores

`clients`: requests/s of 1, 4, 16 and 64 clients, in at most 8 processes, that each ask for 32 rows that the service
knows, wait for the answer and ask again; at 64 ÷ the best of them, to reach 0.8. No replica and no network is in it: it
is what the service itself can answer, its ceiling. Ray starts each process with a copy of the service's own imports.

`replicas`: rows/s of 1, 2 and 4 replicas that sleep 50 ms or more for a call and use no cores, with more announced than
they can do; at n ÷ n times that at 1, the smallest of n = 2 and 4, to reach 0.9.

All numbers of a round are measured in turn. The clock of clients starts when all of them ask.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray

from raykd import runtime
from raykd.data.splits import Split
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.replica import Answer
from raykd.teachers.serving.reply import Reply
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec

from ._measure import median
from ._rounds import FEWEST_STEPS, SECONDS, Rounds, add_options, summary
from ._sleeper import Sleeper, set_speed
from ._stage import Shape, Stage, staged
from ._tables import nobody

log = logging.getLogger(__name__)
CLIENTS, PROCESSES, ASKED_ROWS = (1, 4, 16, 64), 8, 32
REPLICAS, CALL_S = (1, 2, 4), 0.05
CLIENTS_GOAL, REPLICAS_GOAL = 0.8, 0.9
CALL_ROWS = 32


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        rows: that the service has.
        clients: how many ask at once, in turn.
        processes: that clients are spread over, at most.
        replicas: how many answer at once, in turn.
        part_s: seconds of one measurement.
        seconds: that the rounds may take.
    """

    rows: int = 12_000
    clients: tuple[int, ...] = CLIENTS
    processes: int = PROCESSES
    replicas: tuple[int, ...] = REPLICAS
    part_s: float = 2.0
    seconds: float = SECONDS


class Unfinished(Sleeper):
    """Answers at once, but never the last row: so the table is not sealed, and clients go on asking."""

    def infer(self, split: Split, ids: np.ndarray) -> Answer:
        """Made-up logits [B, C]."""
        if split.rows - 1 in ids:
            time.sleep(10 * SECONDS)
        return super().infer(split, ids)


class Asking:
    """A process with some clients, each a thread that asks, waits for the answer and asks again."""

    def __init__(self, spec: TeacherServiceSpec, corpus: str, known: np.ndarray) -> None:
        self._service: Any = connect(spec)
        self._corpus, self._known = corpus, known

    def requests(self, clients: int, begin: float, seconds: float) -> int:
        """How many requests were answered from `begin` (as of time.time) on, for so many seconds."""
        counts = [0] * clients

        def ask(k: int) -> None:
            rng = np.random.default_rng(k)
            time.sleep(max(0.0, begin - time.time()))
            while time.time() < begin + seconds:
                ids = rng.choice(len(self._known), ASKED_ROWS, replace=False)
                reply = ray.get(self._service.route.remote(self._corpus, "bench", self._known[ids]))
                if len(reply.known) < ASKED_ROWS:
                    raise RuntimeError("the service does not know its rows any more")
                counts[k] += time.time() < begin + seconds

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns what every bench reports: ratios, goals, holds, medians."""
    parser = argparse.ArgumentParser("raykd bench scale", description=__doc__.splitlines()[0])
    add_options(parser)
    return measure(replace(Sizes(), seconds=parser.parse_args(args).seconds))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Both parts in each round."""
    shape = Shape(layers=1, width=16, heads=2)  # of a student that nobody trains
    with staged(sizes.rows, shape, shape, threads=1) as stage, runtime.connected(stage.config):
        clients: dict[int, list[float]] = {n: [] for n in sizes.clients}
        replicas: dict[int, list[float]] = {n: [] for n in sizes.replicas}
        flat: list[float] = []
        linear: list[float] = []
        rounds = Rounds(sizes.seconds, FEWEST_STEPS)
        with _known_rows(stage) as (spec, known):
            asking = _processes(stage, spec, known, sizes)
            while rounds.go_on(flat, linear):
                for n in sizes.clients:
                    clients[n].append(_requests_per_s(asking, n, sizes.part_s))
                for n in sizes.replicas:
                    replicas[n].append(_rows_per_s(stage, len(linear), n, sizes.part_s))
                flat.append(clients[max(clients)][-1] / max(values[-1] for values in clients.values()))
                linear.append(
                    min(replicas[n][-1] / (n / min(replicas) * replicas[min(replicas)][-1]) for n in replicas)
                )
        parts = {
            "clients": summary(flat, CLIENTS_GOAL, at_least=True),
            "replicas": summary(linear, REPLICAS_GOAL, at_least=True),
        }
        return {
            "bench": "scale",
            **{f"{key}s": {name: part[key] for name, part in parts.items()} for key in ("ratio", "goal", "interval")},
            **{
                key: {name: part[key] for name, part in parts.items()} for key in ("holds", "interval_holds", "settled")
            },
            "rounds": len(flat),
            "requests_per_s": {n: median(values) for n, values in clients.items()},
            "known_rows_per_s": {n: median(values) * ASKED_ROWS for n, values in clients.items()},
            "computed_rows_per_s": {n: median(values) for n, values in replicas.items()},
            "asked_rows": ASKED_ROWS,
            "processes": sizes.processes,
        }


@contextmanager
def _known_rows(stage: Stage) -> Iterator[tuple[TeacherServiceSpec, np.ndarray]]:
    """A service that is not done, and the ids of the rows that it knows: all but those behind the last one."""
    spec = _spec(stage, "known", Unfinished, replicas=1, seconds_per_row=0.0)
    service, train = connect(spec), stage.subset("train")
    ray.get(service.register.remote(train.split, "bench"))
    ray.get(service.announce.remote(train.split.texts, "bench", np.arange(train.split.rows)))
    before = -1
    while (answered := _forwards(service)) != before or not answered:
        before = answered
        time.sleep(1.0)
    reply: Reply = ray.get(service.route.remote(train.split.texts, "bench", np.arange(train.split.rows)))
    yield spec, reply.known
    ray.kill(service)


def _processes(stage: Stage, spec: TeacherServiceSpec, known: np.ndarray, sizes: Sizes) -> list[Any]:
    corpus, count = stage.subset("train").split.texts, min(sizes.processes, max(sizes.clients))
    actor: Any = ray.remote(Asking)
    processes = [actor.options(num_cpus=0).remote(spec, corpus, known) for _ in range(count)]
    ray.get([process.requests.remote(1, 0.0, 0.0) for process in processes])
    return processes


def _requests_per_s(processes: list[Any], clients: int, seconds: float) -> float:
    used = processes[: min(clients, len(processes))]
    shares = [len(part) for part in np.array_split(np.arange(clients), len(used))]
    begin = time.time() + 0.2  # all of them have the call by then
    counts = ray.get([process.requests.remote(n, begin, seconds) for process, n in zip(used, shares, strict=True)])
    return sum(counts) / seconds


def _rows_per_s(stage: Stage, k: int, replicas: int, seconds: float) -> float:
    """Over so many seconds after all replicas have started.

    Raises:
        RuntimeError: all rows were answered before the time was over.
    """
    name = f"sleeping-{k}-{replicas}"
    spec = _spec(stage, name, Sleeper, replicas, CALL_S / CALL_ROWS)
    service, train = connect(spec), stage.subset("train")

    def check_left() -> None:
        if not _state(service)["queue"]:
            raise RuntimeError(f"{train.split.rows} rows are too few for {replicas} replicas and {seconds:g} s")

    try:
        ray.get(service.register.remote(train.split, name))
        ray.get(service.announce.remote(train.split.texts, name, np.arange(train.split.rows)))
        while [replica["state"] for replica in _state(service)["replicas"]] != ["working"] * replicas:
            check_left()
            time.sleep(0.05)
        begun, before = time.perf_counter(), _forwards(service)
        time.sleep(seconds)
        rate = (_forwards(service) - before) / (time.perf_counter() - begun)
        check_left()
        return rate
    finally:
        ray.kill(service)


def _spec(stage: Stage, name: str, replica: type[Sleeper], replicas: int, seconds_per_row: float) -> TeacherServiceSpec:
    teacher = nobody(stage, name)
    set_speed(Path(teacher.folder), seconds_per_row)
    spec = service_spec(teacher, stage.config.teachers[0], stage.cache, threads=1, lease_s=None)
    free = replace(spec.actor_resources, num_cpus=0.0)  # they sleep
    return replace(
        spec, replica=replica, replicas=replicas, actor_resources=free, batch_tokens=CALL_ROWS * teacher.max_length
    )


def _state(service: Any) -> dict[str, Any]:
    return cast(dict[str, Any], ray.get(service.status.remote()))


def _forwards(service: Any) -> int:
    return int(_state(service)["rows"]["forwards"])

"""Kills at random what a cluster of raykd runs on: seeded, so that a schedule can be played again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil

PROCESSES = {
    "replica": "ray::ModelReplica",
    "service": "ray::TeacherService",
    "keeper": "ray::EnsembleKeeper",
    "worker": "ray::RayTrainWorker",
}
"""What the processes of Ray's actors are called, by what is killed."""


@dataclass(frozen=True)
class Blow:
    """One kill.

    Attributes:
        at_s: seconds from the begin.
        kind: of `PROCESSES`, or node.
        pick: from 0 to 1, which of those that are there, by age.
    """

    at_s: float
    kind: str
    pick: float


def schedule(seed: int, seconds: float, kinds: list[str], mean_pause_s: float) -> list[Blow]:
    """Blows with exponential pauses between them; the same for the same seed."""
    rng, at, blows = np.random.default_rng(seed), 0.0, []
    while (at := at + float(rng.exponential(mean_pause_s))) < seconds:
        blows.append(Blow(round(at, 2), kinds[int(rng.integers(len(kinds)))], round(float(rng.random()), 3)))
    return blows


class Chaos:
    """Carries out a schedule.

    Args:
        lose_node: takes a node away, and puts another in its place; Ray does so in the main thread alone.

    Attributes:
        log: what was done, in words, with its time.
        over: all of the schedule has been done.
    """

    def __init__(self, blows: list[Blow], lose_node: Callable[[], None]) -> None:
        self._blows, self._lose_node = blows, lose_node
        self.log: list[str] = []
        self.over = threading.Event()

    def run(self, end: Callable[[], bool]) -> None:
        """To the end of the schedule, or until `end` says that nothing is left to be disturbed."""
        begun = time.monotonic()
        try:
            for blow in self._blows:
                while (left := begun + blow.at_s - time.monotonic()) > 0:
                    if end():
                        return
                    time.sleep(min(left, 0.2))
                self.log.append(f"{time.monotonic() - begun:6.1f} s  {self._strike(blow)}")
        finally:
            self.over.set()

    def _strike(self, blow: Blow) -> str:
        if blow.kind == "node":
            self._lose_node()
            return "a node was lost, and another one joined"
        found = sorted(processes(PROCESSES[blow.kind]), key=lambda process: process.create_time())
        if not found:
            return f"no {blow.kind} was there"
        victim = found[min(int(blow.pick * len(found)), len(found) - 1)]
        victim.kill()
        return f"{blow.kind} {victim.pid} was killed, one of {len(found)}"


def processes(title: str) -> Iterator[psutil.Process]:
    """Those below this process whose title begins so."""
    for process in psutil.Process().children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith(title):
                yield process
        except psutil.Error:  # it has ended meanwhile
            continue

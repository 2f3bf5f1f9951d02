"""Adding and sparing replicas, on a clock of the test's own and against a simulated load."""

from __future__ import annotations

import pytest

from raykd.serve.autoscale import BUSY, DOWN_AFTER_S, IDLE_ENOUGH, UP_AFTER_S, Autoscaler, Load


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def after(scaler: Autoscaler, clock: Clock, load: Load, seconds: float) -> int:
    """What it wants once a load has lasted for so long, with a look every second."""
    for _ in range(int(seconds)):
        clock.now += 1
        scaler.decide(load)
    return scaler.wanted


def scaler_of(least: int = 1, most: int = 4) -> tuple[Autoscaler, Clock]:
    clock = Clock()
    return Autoscaler(least, most, clock), clock


WAITING = Load(wait_share=0.5, busy=0.95, queue=100, ready=1)


def test_a_replica_is_added_when_students_have_waited_for_some_time() -> None:
    scaler, clock = scaler_of()
    assert after(scaler, clock, WAITING, UP_AFTER_S) == 1
    assert after(scaler, clock, WAITING, 1) == 2
    assert scaler.reason == "students wait 50% of their time, replicas are busy 95% of theirs"


@pytest.mark.parametrize(
    "load",
    [
        Load(wait_share=0.5, busy=0.3, queue=100, ready=1),  # they wait for something else
        Load(wait_share=0.01, busy=0.99, queue=100, ready=1),  # a replica that keeps up
        Load(wait_share=None, busy=0.99, queue=0, ready=1),  # nobody is there
        Load(wait_share=0.5, busy=0.95, queue=100, ready=0),  # the first one still loads
    ],
)
def test_none_is_added_without_need(load: Load) -> None:
    scaler, clock = scaler_of()
    assert after(scaler, clock, load, 300) == 1


def test_the_next_one_waits_until_the_last_is_ready() -> None:
    scaler, clock = scaler_of()
    assert after(scaler, clock, WAITING, UP_AFTER_S + 1) == 2
    assert after(scaler, clock, WAITING, 300) == 2  # `ready` is still 1


def test_a_short_peak_changes_nothing() -> None:
    scaler, clock = scaler_of()
    for _ in range(30):
        after(scaler, clock, WAITING, UP_AFTER_S - 2)
        after(scaler, clock, Load(0.0, 0.9, 100, 1), 1)
    assert scaler.wanted == 1


def test_bounds_are_kept() -> None:
    scaler, clock = scaler_of(least=2, most=3)
    assert scaler.wanted == 2
    assert after(scaler, clock, Load(1.0, 1.0, 100, 3), 1000) == 3
    assert after(scaler, clock, Load(None, 0.0, 0, 3), 1000) == 2


def test_replicas_go_late_and_one_by_one() -> None:
    scaler, clock = scaler_of()
    after(scaler, clock, Load(1.0, 1.0, 100, 4), 100)
    assert scaler.wanted == 4
    idle = Load(None, 0.0, 0, 4)
    assert after(scaler, clock, idle, DOWN_AFTER_S) == 4
    assert after(scaler, clock, idle, 1) == 3
    assert "with one less" in scaler.reason
    assert after(scaler, clock, idle, DOWN_AFTER_S + 1) == 2


@pytest.mark.parametrize("demand", [0.2, 0.7, 1.3, 2.0, 2.9, 3.5, 9.0])
def test_under_a_steady_load_it_settles(demand: float) -> None:
    """Students that want `demand` replicas' worth of rows: they wait for what is missing, replicas are busy with the
    rest. From below and from above it comes to rest, with as many as are needed and at most one to spare."""
    for start in (1, 6):
        scaler, clock = scaler_of(least=1, most=6)
        scaler.wanted = start
        changes: list[float] = []
        for _ in range(4000):
            clock.now += 1
            before, n = scaler.wanted, scaler.wanted
            share = max(0.0, 1 - n / demand)
            scaler.decide(Load(share, min(1.0, demand / n), 100, n))
            if scaler.wanted != before:
                changes.append(clock.now)
        assert not changes or changes[-1] < 2000
        assert len(changes) <= 5
        n = scaler.wanted
        assert n == 6 or max(0.0, 1 - n / demand) <= 0.1  # enough
        assert n == 1 or demand / (n - 1) >= IDLE_ENOUGH  # and none idle
    assert IDLE_ENOUGH < BUSY

"""Leases and counters of a service, on a clock of the test's own."""

from __future__ import annotations

import pytest

from raykd.teachers.serving.usage import WINDOW_S, Leases, Traffic


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_lasts_so_long_after_the_last_word() -> None:
    clock = Clock()
    leases = Leases(10, clock)
    leases.renew("a")
    clock.now += 6
    leases.renew("b")
    assert leases.runs() == ["a", "b"]
    clock.now += 5
    assert (leases.runs(), leases.has("a"), leases.has("b"), leases.over) == (["b"], False, True, False)
    leases.release("b")
    assert (leases.runs(), leases.over) == ([], True)


def test_a_first_user_has_the_time_of_a_lease_to_come() -> None:
    clock = Clock()
    leases = Leases(10, clock)
    clock.now += 9
    assert not leases.over
    clock.now += 2
    assert leases.over


def test_without_leases_nothing_is_over() -> None:
    clock = Clock()
    leases = Leases(None, clock)
    leases.renew("a")
    clock.now += 1e9
    assert (leases.runs(), leases.over) == ([], False)


def test_rows_per_second_are_those_of_the_last_seconds() -> None:
    clock = Clock()
    traffic = Traffic(clock=clock)
    assert traffic.as_dict()["hit_rate"] is None
    traffic.answered(90, 2.0)
    clock.now += WINDOW_S - 1
    traffic.answered(30, 1.0)
    assert traffic.rows_per_s() == pytest.approx(120 / WINDOW_S)
    clock.now += 2
    assert traffic.rows_per_s() == pytest.approx(30 / WINDOW_S)
    assert (traffic.forwards, traffic.seconds, traffic.answers) == (120, 3.0, 2)
    traffic.asked, traffic.known = 40, 10
    assert traffic.as_dict()["hit_rate"] == 0.25


def test_shares_of_the_last_seconds() -> None:
    clock = Clock()
    traffic = Traffic(clock=clock)
    assert traffic.wait_share() is None
    traffic.answered(10, WINDOW_S / 2)
    traffic.answered(10, WINDOW_S)
    traffic.waited(1.0, 2.0)
    traffic.waited(0.0, 2.0)
    assert (traffic.busy(), traffic.wait_share()) == (1.5, 0.25)
    clock.now += WINDOW_S + 1
    assert (traffic.busy(), traffic.wait_share()) == (0.0, None)

"""The log of several domains as a state, and as the terminal shows it: domains that wait, run, fail and resume."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from logged import evaluation, plan, step
from rich.console import Console

from raykd.display.domains_view import DomainsProgress
from raykd.records.domains_state import DomainsState
from raykd.records.events import DomainEndedEvent, DomainsPlanEvent, DomainStartedEvent, Event, PhaseEvent
from raykd.records.log import MetricsLog

FOLDERS = {"books": "books", "a b": "a-b-1", "dvd": "dvd"}
PLAN = DomainsPlanEvent(time=0, metric="accuracy", concurrency=2, domains=FOLDERS, named=True)


def events() -> list[Event]:
    return [
        PLAN,
        PhaseEvent(time=1, phase="students"),
        DomainStartedEvent(time=10, domain="books"),
        DomainStartedEvent(time=10, domain="a b"),
        DomainEndedEvent(time=25, domain="books", state="done", value=0.8125),
    ]


def test_a_log_becomes_domains(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for event in [*events(), DomainEndedEvent(time=30, domain="a b", state="failed", reason="its loss is nan")]:
        log.write(event)
    state = DomainsState.read(tmp_path)
    books, failed, waiting = state.all.values()
    assert (state.metric, state.named, list(state.all)) == ("accuracy", True, ["books", "a b", "dvd"])
    assert (books.state, books.value, books.seconds) == ("done", 0.8125, 15)
    assert (failed.state, failed.reason, failed.folder, failed.seconds) == ("failed", "its loss is nan", "a-b-1", 20)
    assert (waiting.state, waiting.seconds) == ("waiting", 0)
    assert [state.count(name) for name in ("done", "failed", "waiting", "running")] == [1, 1, 1, 0]
    assert DomainsState.read(tmp_path / "nowhere").all == {}


def test_what_a_killed_session_left_running_waits_again() -> None:
    state = DomainsState()
    for event in [*events(), PLAN]:
        state.apply(event)
    assert {name: domain.state for name, domain in state.all.items()} == {
        "books": "done", "a b": "waiting", "dvd": "waiting",
    }  # fmt: skip
    state.apply(DomainEndedEvent(domain="of another plan", state="done"))
    assert len(state.all) == 3


def write(folder: Path) -> None:
    """A domain done, one in training, one whose teacher is fine-tuned."""
    log = MetricsLog(folder / "metrics.jsonl")
    for event in events():
        log.write(event)
    running = MetricsLog(folder / "a-b-1" / "metrics.jsonl")
    for event in (plan(), step(40), evaluation(40, 0.75)):
        running.write(event)
    teacher = MetricsLog(folder / "dvd" / "teachers" / "bert.jsonl")
    for event in (plan(), step(30)):
        teacher.write(event)


def test_the_live_lines(tmp_path: Path) -> None:
    write(tmp_path)
    console = Console(width=120, record=True, force_terminal=True, file=io.StringIO(), _environ={"TERM": "xterm"})
    with DomainsProgress(tmp_path, enabled=True, console=console):
        pass
    shown = console.export_text()
    for part in (
        "domains: 1 waiting, 1 running, 1 done of 3",
        "done, accuracy 0.8125",
        "student step 40 of 100, accuracy 0.7500",
        "teacher bert step 30 of 100",
    ):
        assert part in shown, part


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped = DomainEndedEvent(time=40, domain="a b", state="stopped", reason="student: stopped at step 40")
    with caplog.at_level(logging.INFO, "raykd.progress"):
        with DomainsProgress(tmp_path, enabled=False):
            write(tmp_path)
            MetricsLog(tmp_path / "metrics.jsonl").write(stopped)
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        with DomainsProgress(tmp_path, enabled=False):  # what an earlier session wrote is no news
            MetricsLog(tmp_path / "metrics.jsonl").write(DomainStartedEvent(domain="a b"))
        assert [record.getMessage() for record in caplog.records] == ["domain a b: started"]
    assert lines[:4] == [
        "phase: students",
        "domain books: started",
        "domain a b: started",
        "domain books: done, accuracy 0.8125 after 15 s",
    ]
    assert lines[4] == "domain a b: stopped: student: stopped at step 40 after 30 s"
    (line,) = lines[5:]
    assert line.startswith("domain a b: student step 40 of 100, epoch 1.60, accuracy 0.7500")

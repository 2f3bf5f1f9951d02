"""A study's log as a state and as a table: trials that run, end, fail and resume."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from raykd.display.study_view import StudyProgress, written
from raykd.records.events import Event, StudyPlanEvent, TrialEndedEvent, TrialReportEvent, TrialStartedEvent
from raykd.records.log import MetricsLog
from raykd.records.study_state import StudyState

PARAMS = {"train.lr": 1e-3, "student.layers": [0, 5]}


def report(time: float, step: int, value: float) -> TrialReportEvent:
    return TrialReportEvent(
        time=time, trial="t00", params=PARAMS, step=step, epoch=step / 10, value=value, now=value, asked=32 * step,
        parameters=1000, latency_ms=2.5,
    )  # fmt: skip


def events() -> list[Event]:
    return [
        StudyPlanEvent(time=0, metric="accuracy", trials=3, concurrency=2, keys=list(PARAMS)),
        TrialStartedEvent(time=10, trial="t00", params=PARAMS),
        TrialStartedEvent(time=10, trial="t01", params={"train.lr": 9.0}),
        report(14, 10, 0.7),
        TrialEndedEvent(time=15, trial="t01", state="failed", reason="its loss is nan"),
        report(18, 20, 0.8),
        TrialEndedEvent(time=20, trial="t00", state="done"),
        TrialStartedEvent(time=30, trial="t00-seed1", params=PARAMS, of="t00"),
    ]


def test_a_log_becomes_trials(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for event in events():
        log.write(event)
    state = StudyState.read(tmp_path)
    first, failed, again = state.all.values()
    assert (state.metric, state.trials, state.keys) == ("accuracy", 3, list(PARAMS))
    assert (first.state, first.value, first.step, first.seconds, first.asked) == ("done", 0.8, 20, 10, 640)
    assert first.values == [(10, 0.7), (20, 0.8)]
    assert (first.parameters, first.latency_ms, first.params) == (1000, 2.5, PARAMS)
    assert (failed.state, failed.reason) == ("failed", "its loss is nan")
    assert state.searched == [first, failed]
    assert state.repeated == [again]
    assert state.best is first


def test_a_trial_that_resumes_counts_the_time_before_its_session_was_killed() -> None:
    state = StudyState()
    for event in events()[:4]:
        state.apply(event)
    state.apply(TrialStartedEvent(time=1000, trial="t00", params={}))
    state.apply(TrialEndedEvent(time=1003, trial="t00", state="stopped", reason="stopped early"))
    assert state.all["t00"].seconds == (14 - 10) + 3
    assert state.all["t00"].state == "stopped"


def test_the_live_table_shows_running_best_and_failed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for event in events():
        log.write(event)
    console = Console(width=140, record=True, force_terminal=True)
    with StudyProgress(tmp_path, enabled=True, console=console):
        pass
    shown = console.export_text()
    parts = ("1 done, 1 running, 1 failed of 3", "best accuracy 0.8000 (t00)", "t00-seed1", "its loss is nan")
    assert [part for part in parts if part not in shown] == []


def test_values_in_few_letters() -> None:
    assert [written(value) for value in (None, 0.00012345, 3, "ikd", [0, 5])] == ["-", "0.000123", "3", "ikd", "[0, 5]"]

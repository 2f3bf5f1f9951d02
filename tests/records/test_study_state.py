"""A study's log as a state and as a table: trials that run, end, fail and go on."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from raykd.display.study_view import StudyProgress, written
from raykd.records.log import MetricsLog
from raykd.records.study_state import StudyState


def told() -> list[dict[str, object]]:
    params = {"train.lr": 1e-3, "student.layers": [0, 5]}
    report = {"event": "trial_report", "trial": "t00", "params": params, "parameters": 1000, "latency_ms": 2.5}
    return [
        {"event": "study_plan", "time": 0, "metric": "accuracy", "trials": 3, "concurrency": 2, "keys": list(params)},
        {"event": "trial_started", "time": 10, "trial": "t00", "params": params},
        {"event": "trial_started", "time": 10, "trial": "t01", "params": {"train.lr": 9.0}},
        {**report, "time": 14, "step": 10, "epoch": 1.0, "value": 0.7, "asked": 320},
        {"event": "trial_ended", "time": 15, "trial": "t01", "state": "failed", "reason": "its loss is nan"},
        {**report, "time": 18, "step": 20, "epoch": 2.0, "value": 0.8, "asked": 640},
        {"event": "trial_ended", "time": 20, "trial": "t00", "state": "done"},
        {"event": "trial_started", "time": 30, "trial": "t00-seed1", "params": params, "of": "t00"},
    ]


def test_a_log_becomes_trials() -> None:
    state = StudyState()
    for event in told():
        state.apply(event)
    one, failed, again = state.all.values()
    assert (one.state, one.value, one.step, one.seconds, one.asked) == ("done", 0.8, 20, 10, 640)
    assert one.values == [(10, 0.7), (20, 0.8)]
    assert (failed.state, failed.reason) == ("failed", "its loss is nan")
    assert state.searched == [one, failed]
    assert state.repeated == [again]
    assert state.best is one


def test_a_trial_that_goes_on_counts_the_time_before_its_session_was_killed() -> None:
    state = StudyState()
    for event in told()[:4]:
        state.apply(event)
    state.apply({"event": "trial_started", "time": 1000, "trial": "t00", "params": {}})
    state.apply({"event": "trial_ended", "time": 1003, "trial": "t00", "state": "stopped", "reason": "stopped early"})
    assert state.all["t00"].seconds == (14 - 10) + 3
    assert state.all["t00"].state == "stopped"


def test_the_live_table_shows_running_best_and_failed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for event in told():
        fields = {key: value for key, value in event.items() if key not in ("event", "time")}
        log.write(str(event["event"]), **fields)
    console = Console(width=140, record=True, force_terminal=True)
    with StudyProgress(tmp_path, enabled=True, console=console):
        pass
    shown = console.export_text()
    for said in ("1 done, 1 running, 1 failed of 3", "best accuracy 0.8000 (t00)", "t00-seed1", "its loss is nan"):
        assert said in shown, shown


def test_values_in_few_letters() -> None:
    assert [written(value) for value in (None, 0.00012345, 3, "ikd", [0, 5])] == ["-", "0.000123", "3", "ikd", "[0, 5]"]

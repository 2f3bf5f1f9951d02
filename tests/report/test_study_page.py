"""A study's page: finished, unfinished, with values of every kind, and with nothing that a name could smuggle in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raykd.display import study_text as words
from raykd.display.study_table import study_table
from raykd.errors import ConfigError
from raykd.records.log import MetricsLog
from raykd.report import study_page
from raykd.report.study_files import read_study
from raykd.report.study_pictures import study_pictures

KEYS = ["objective.temperature", "feedback.teacher_lr", "student.layers", "weighting"]


def write_log(folder: Path, trials: int = 10) -> None:
    log = MetricsLog(folder / "metrics.jsonl")
    log.write("study_plan", metric="accuracy", trials=trials, concurrency=2, keys=KEYS)
    for k in range(trials):
        name = f"t{k:02d}"
        point: dict[str, Any] = {
            "objective.temperature": 1.0 + k, "student.layers": [0, k % 3], "weighting": "<b>policy</b>",
        }  # fmt: skip
        point |= {"feedback.teacher_lr": 10.0**-k} if k % 2 else {}
        log.write("trial_started", trial=name, point=point)
        for step in range(1, 4 if k % 3 else 2):
            value, size = 0.7 + 0.01 * k + 0.01 * step, 1000 * (k % 3 + 1)
            log.write("trial_report", trial=name, step=10 * step, epoch=step, value=value, asked=320 * step,
                      parameters=size, latency_ms=size / 1000)  # fmt: skip
        state = "done" if k % 3 else "stopped"
        log.write("trial_ended", trial=name, state="failed" if k == 4 else state, reason="out of memory" * (k == 4))


def result_of(**changes: Any) -> dict[str, Any]:
    def group(name: str, values: list[float], deviation: float | None) -> dict[str, Any]:
        return {
            "trial": name, "params": {"objective.temperature": 9.0}, "runs": {name: values[0]}, "values": values,
            "mean": sum(values) / len(values), "deviation": deviation, "parameters": 3000, "latency_ms": 3.0,
        }  # fmt: skip

    best = group("t08", [0.81, 0.83], 0.014)
    return {
        "name": "st", "kind": "study", "metric": "accuracy", "value": 0.82, "best": best,
        "repeated": [best, group("t07", [0.815, 0.819], 0.003)],
        "trials": {"done": 6, "stopped": 3, "failed": 1}, "searcher": "random", "scheduler": "asha",
        "importance": {"objective.temperature": 0.7, "student.layers": 0.3},
        "front": {"parameters": ["t07", "t08"], "latency_ms": ["t07"]},
        "sharing": {"trials": 12, "rows_computed": 320, "rows_wanted": 320, "rows_used": 5760, "rows_apart": 3840,
                    "teacher_s": 2.0, "saved_s": 22.0, "targets_s": 3.0, "trials_s": 60.0},
        "validation_rows": 80, "concurrency": 2, "seconds": 70.0, "warnings": [], "versions": {"raykd": "0"},
    } | changes  # fmt: skip


def test_an_unfinished_study_has_a_page(tmp_path: Path) -> None:
    write_log(tmp_path)
    page = study_page.render(tmp_path).read_text(encoding="utf-8")
    for said in ("This study is not finished", "--resume", "out of memory", "Which values led where", "stopped early"):
        assert said in page
    assert "<b>policy</b>" not in page
    assert "<script" not in page


def test_a_finished_study_says_what_won_and_how_sure(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(result_of()), encoding="utf-8")
    study = read_study(tmp_path)
    names = {picture.name for picture in study_pictures(study)}
    assert names == {"history", "courses", "parallel", "importance", "costs", "spread"}
    page = study_page.render(tmp_path).read_text(encoding="utf-8")
    for said in ("0.820 ± 0.014 over 2 seeds", "their order is not settled", "320 rows", "5,760", "mattered most"):
        assert said in page, said


def test_one_seed_is_called_one_seed() -> None:
    best = result_of()["best"] | {"values": [0.8], "mean": 0.8, "deviation": None}
    said = words.won(result_of(best=best, repeated=[]))
    assert "with the one seed that it ran" in said
    assert "±" not in said
    assert study_table(result_of(best=best, repeated=[])).row_count == 1


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no study's folder"):
        study_page.render(tmp_path)

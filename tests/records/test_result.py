"""result.json as records: written whole, read back equal, and refused in one line where it is damaged or older."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raykd.errors import RunError
from raykd.records.result import read_result
from raykd.records.run_result import (
    DataResult,
    Efficiency,
    FeedbackResult,
    Gap,
    ModelSize,
    RunResult,
    SplitUse,
    TeacherResult,
    TrainedTeacherResult,
)


def run_result(value: float | None = 0.8) -> RunResult:
    """Of a run with one teacher under feedback, without baselines."""
    nan = float("nan")
    return RunResult(
        name="reviews", metric="accuracy", value=value, scores={"accuracy": value, "f1": nan}, best_step=10, steps=20,
        epochs=2.0,
        teachers=[
            TeacherResult(name="bert", metric=0.9, scores={"accuracy": 0.9}, version=0, forwards=320, rows_computed=320,
                          rows_reused=0, seconds=1.5, parameters=1000, address="abc"),
        ],
        baselines={}, gap=Gap(teacher=0.9, alone=None, student=value, closed=None),
        efficiency=Efficiency(samples_per_s=100, student_only_samples_per_s=110, ratio=0.9, wait_share=0.1,
                              hit_rate=1.0, train_s=6.4, feedback_s=0.1),
        student=ModelSize(parameters=100, layers=1, hidden_size=16),
        splits={"validation": SplitUse(split="validation", rows=80, used_for=["evaluation"])},
        data=DataResult(overlap=0, fingerprint="f"),
        feedback=FeedbackResult(
            type="metadistil", route="forward", route_reason="", surrogate=None, split="quiz", rounds=3, seconds=0.1,
            wire_bytes=100, quiz_before=None, quiz_after=0.5, cosine_quiz=float("inf"),
            teachers={"bert": TrainedTeacherResult(began={"accuracy": 0.9}, ended={"accuracy": 0.91}, drift=0.001,
                                                   versions=3, folder="teachers/bert")},
        ),
        warnings=[], seed=0, versions={"raykd": "0"}, seconds=10.0,
    )  # fmt: skip


def test_a_result_is_read_as_it_was_written_with_null_for_what_json_lacks(tmp_path: Path) -> None:
    path, result = tmp_path / "result.json", run_result()
    path.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert (raw["schema_version"], raw["kind"], raw["scores"]["f1"]) == (1, "distill", None)
    read = read_result(path)
    assert isinstance(read, RunResult)
    assert read.feedback is not None
    assert read.feedback.cosine_quiz is None
    assert read.teachers == result.teachers
    assert read.validation_rows == 80
    assert read_result(tmp_path / "nothing.json") is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "is damaged"),
        ("[1]", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"name": "reviews", "kind": "distill", "status": "done"}', "another version"),
        ('{"schema_version": 2}', "schema 2"),
        ('{"schema_version": 1, "name": 3}', "is damaged: name"),
        (run_result().model_dump_json().replace('"best_step":10', '"best_step":"much"'), "best_step"),
    ],
)
def test_a_damaged_or_older_result_is_one_line(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=named) as raised:
        read_result(tmp_path / "result.json")
    assert "\n" not in str(raised.value)

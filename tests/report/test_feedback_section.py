"""The page's section on feedback, and what table and card show of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from reading import pictures, text_of
from rich.console import Console

from raykd.display.durations import duration
from raykd.display.tables import final_table
from raykd.display.text import number, percent, share, size
from raykd.feedback.ikd import IKD
from raykd.records.run_result import FeedbackResult, RunResult, TrainedTeacherResult
from raykd.report.card import model_card
from raykd.report.feedback_data import FeedbackData
from raykd.report.feedback_section import feedback_section
from raykd.report.figures.run_pictures import run_pictures
from raykd.report.run_files import Run, read_run

EVIL = "</style><script>alert('x')</script>"
ENDS = {"a": (0.891, 0.899), "b": (0.870, 0.866), "c": (0.8570, 0.8571)}
"""Better, worse, and better by less than is shown."""


@pytest.fixture
def run(policy_run: Path) -> Run:
    return read_run(policy_run)


@pytest.fixture
def feedback(result: RunResult) -> FeedbackResult:
    assert result.feedback is not None
    return result.feedback


def trained(began: float | None, ended: float | None) -> TrainedTeacherResult:
    return TrainedTeacherResult(
        began={"accuracy": began}, ended={"accuracy": ended}, drift=0.00098, versions=300, folder="teachers/t"
    )


def paragraphs(run: Run) -> str:
    section = feedback_section(run, [])
    assert section is not None
    return " ".join(section.paragraphs)


def with_feedback(run: Run, feedback: FeedbackResult, **fields: Any) -> Run:
    assert run.result is not None
    changed = feedback.model_copy(update=fields)
    return replace(run, result=run.result.model_copy(update={"feedback": changed}))


def test_a_finished_run(run: Run, feedback: FeedbackResult, policy_run: Path) -> None:
    text = paragraphs(run)
    assert f"{feedback.rounds} rounds of MetaDistil" in text
    assert "pilot step" in text
    assert feedback.quiz_before is not None
    assert feedback.quiz_after is not None
    assert f"{feedback.quiz_before:.4f}" in text
    assert f"{feedback.quiz_after:.4f}" in text
    assert f"({feedback.route_reason})" in text
    for route, words in (("forward", "forward mode"), ("central", "central diff"), ("one_sided", "one-sided diff")):
        assert words in paragraphs(with_feedback(run, feedback, route=route))
    assert f"the split `{feedback.split}`" in text
    assert "surrogate" not in text
    assert pictures(policy_run) >= {"teachers_under_feedback", "quiz_loss", "cosines"}


def test_the_table_has_values_versions_drift_and_the_norm_of_each_term(run: Run, feedback: FeedbackResult) -> None:
    section = feedback_section(run, [])
    assert section is not None
    assert section.table is not None
    titles = [column.title for column in section.table.columns]
    cells = dict(zip(titles, section.table.rows[0].cells, strict=True))
    teacher = feedback.teachers["wordpiece"]
    values = f"{number(teacher.began['accuracy'])} → {number(teacher.ended['accuracy'])}"
    assert cells["accuracy, before → after"] == values
    assert cells["versions"] == str(teacher.versions)
    assert teacher.drift is not None
    assert cells["drift"] == percent(teacher.drift)
    state = run.state.student.feedback
    assert state is not None
    assert cells["‖g‖ feedback"] == f"{state.teachers['wordpiece'].norms['feedback'].mean:.2g}"


def test_each_teacher_is_judged_at_the_shown_precision(run: Run, feedback: FeedbackResult) -> None:
    teachers = {name: trained(*ends) for name, ends in ENDS.items()}
    text = paragraphs(with_feedback(run, feedback, teachers=teachers))
    assert "a ended better than it began (validation accuracy 0.891 → 0.899, +0.008)" in text
    assert "b ended worse" in text
    assert "c ended as good as it began (validation accuracy 0.857 → 0.857)" in text
    assert "All of these changes are smaller than chance" in text  # on 80 rows
    alone = paragraphs(with_feedback(run, feedback, teachers={"a": teachers["a"]}))
    assert "That change is smaller than chance" in alone


def test_many_teachers_are_counted(run: Run, feedback: FeedbackResult) -> None:
    ends = list(ENDS.values()) * 3
    teachers = {f"t{k}": trained(*ends[k]) for k in range(8)}
    text = paragraphs(with_feedback(run, feedback, teachers=teachers))
    assert "Of 8 teachers" in text
    assert "3 ended better than they began, 3 worse and 2 the same" in text


def test_ikd_uses_the_students_own_step_and_names_its_surrogate(run: Run, feedback: FeedbackResult) -> None:
    assert IKD.surrogate
    ikd = with_feedback(run, feedback, type="ikd", surrogate=f"{IKD.surrogate}.")
    text = paragraphs(ikd)
    assert f"{feedback.rounds} rounds of IKD" in text
    assert "the student's own step" in text
    assert f"surrogate: {IKD.surrogate}. " in text
    assert "pilot" not in text
    captions = {picture.name: picture.caption for picture in run_pictures(ikd)}
    assert "step of the student" in captions["quiz_loss"]


def test_metadistil_without_its_roll_back_has_no_pilot(run: Run, feedback: FeedbackResult) -> None:
    section = {"type": "metadistil", "rollback": False}
    kept = replace(
        with_feedback(run, feedback, surrogate="a plain SGD step"), config={**run.config, "feedback": section}
    )
    text = paragraphs(kept)
    assert "of MetaDistil" in text
    assert "the student's own step" in text
    assert "pilot" not in text


@pytest.mark.parametrize(("cosine", "word"), [(-0.01, "noise"), (0.21, "21 %")])
def test_how_much_was_signal(run: Run, feedback: FeedbackResult, cosine: float, word: str) -> None:
    text = paragraphs(with_feedback(run, feedback, cosine_quiz=cosine))
    assert f"mean cosine of {cosine:.2f}" in text
    assert word in text


def test_whether_successive_rounds_agreed(run: Run, logged: Callable[..., Path]) -> None:
    state = run.state.student.feedback
    assert state is not None
    measured = state.teachers["wordpiece"].cosine_last.y
    assert len(measured) == 2  # rounds 0, 3 and 6 were measured
    words = "before it the mean cosine was"
    assert f"{words} {fmean(measured):.2f}" in paragraphs(run)
    for last, agreed in ((0.02, False), (0.31, True)):
        cosines = [last - 0.01, last + 0.01]
        rounds = [
            _round(k, {"version": k, "cosine_quiz": 0.5, "cosine_last": cosine})
            for k, cosine in enumerate([None, *cosines], 1)
        ]
        text = paragraphs(read_run(logged("".join(json.dumps(event) + "\n" for event in rounds))))
        assert f"{words} {last:.2f}" in text
        assert ("rounds did not agree" in text) != agreed


def test_what_feedback_cost(run: Run, result: RunResult, feedback: FeedbackResult) -> None:
    text = paragraphs(run)
    for part in (
        f"took {duration(feedback.seconds)}, {share(feedback.seconds / result.seconds)} of the run's time",
        f"{size(feedback.wire_bytes)} were sent to the teachers",
        f"({size(feedback.wire_bytes / feedback.rounds)} a round)",
    ):
        assert part in text


def test_an_unfinished_run_shows_it_from_its_log(unfinished_run: Path) -> None:
    run = read_run(unfinished_run)
    data = FeedbackData.of(run)
    assert data is not None
    text = paragraphs(run)
    assert f"{data.rounds} rounds of MetaDistil so far" in text
    assert "wordpiece is " in text
    assert data.quiz_after == pytest.approx(data.state.after.mean)
    assert f"{data.quiz_after:.4f}" in text
    assert f"took {duration(data.state.seconds)}; {size(data.state.wire_bytes)} were sent" in text


def test_missing_fields_are_left_out(logged: Callable[..., Path]) -> None:
    """Only what the records require, with a NaN that the log wrote as null."""
    nothing = {"version": 0, "scores": {"accuracy": None}, "drift": None}
    events = [
        {"event": "plan", "steps": 9, "epochs": 1, "samples": 90, "batch_size": 10, "metric": "accuracy"},
        {"event": "teacher_eval", "step": 0, "epoch": 0, "teachers": {"t": nothing}},
        _round(1, {"version": 1, "grad_norm": 1.0}, quiz_after=0.5),
        _round(2, {"version": 2, "cosine_quiz": None}),
    ]  # fmt: skip
    run = read_run(logged("".join(json.dumps(event) + "\n" for event in events)))
    text = paragraphs(run)
    assert "In 2 rounds of feedback so far" in text
    assert "0.5000 after it" in text
    assert "cosine" not in text
    assert text_of(run)


def test_a_term_without_effect_and_steps_clipped_to_one_length(logged: Callable[..., Path]) -> None:
    long = {"grad_norm": 4000.0, "norm_feedback": 4000.0, "norm_ce": 4.0, "norm_reference": 1e-6}
    events = [_round(k + 1, {"version": k + 1, **long}) for k in range(4)] + [
        _round(5, {"version": 5, "grad_norm": 0.5})
    ]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    text = paragraphs(read_run(logged(lines, feedback={"type": "ikd", "teacher_max_grad_norm": 1.0})))
    assert "t's term `feedback` was on average 1,000 times as long as that of `own labels`" in text
    assert "`reference`" not in text
    assert "In 80 % of the teachers' steps" in text
    quiet = json.dumps(_round(1, {"version": 1, "grad_norm": 5.0, "norm_feedback": 4.0, "norm_ce": 3.0})) + "\n"
    for clip in ({"teacher_max_grad_norm": None}, {"teacher_max_grad_norm": 6.0}, {}):
        text = paragraphs(read_run(logged(quiet, feedback={"type": "ikd", **clip})))
        assert "effect" not in text
        assert "clipped" not in text


def test_feedback_with_no_weight(logged: Callable[..., Path]) -> None:
    line = json.dumps(_round(1, {"version": 1, "norm_feedback": 0.0, "norm_ce": 5.0})) + "\n"
    text = paragraphs(read_run(logged(line, feedback={"type": "ikd", "weight": 0.0})))
    assert "feedback.weight is 0" in text
    assert "quiz" not in text


def _round(step: int, teacher: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "event": "feedback", "step": step, "epoch": step / 9, "teachers": {"t": teacher}, "seconds": 0.1,
        "wire_bytes": 100 * step, **fields,
    }  # fmt: skip


def test_without_feedback_there_is_no_section(regression_run: Path) -> None:
    run = read_run(regression_run)
    assert FeedbackData.of(run) is None
    assert "Feedback to the teachers" not in text_of(run)
    assert "Feedback:" not in (regression_run / "student" / "README.md").read_text(encoding="utf-8")


def test_names_do_not_become_markup(run: Run, feedback: FeedbackResult) -> None:
    evil = with_feedback(run, feedback, teachers={EVIL: trained(0.8, 0.9)}, route_reason=EVIL)
    assert text_of(evil).count(EVIL) >= 3


@pytest.mark.parametrize("width", [60, 100])
def test_the_final_table_shows_a_teacher_before_and_after(
    result: RunResult, feedback: FeedbackResult, width: int
) -> None:
    changed = feedback.model_copy(update={"teachers": {"wordpiece": trained(0.891, 0.899)}})
    gap = result.gap.model_copy(update={"alone": 0.798, "split": "validation"})
    file = io.StringIO()
    table = final_table(result.model_copy(update={"feedback": changed, "gap": gap}))
    Console(file=file, width=width).print(table)
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert "+0.101" in flat  # what it ended with, against the student alone
    assert "0.891 -> 0.899" in flat or width < 100
    assert flat.count("->") == 1


@pytest.mark.parametrize(("kind", "paper"), [("metadistil", "2106.04570"), ("ikd", "2109.04641")])
def test_the_card_cites_the_method(
    result: RunResult, feedback: FeedbackResult, config: dict[str, Any], kind: str, paper: str
) -> None:
    changed = feedback.model_copy(update={"type": kind, "teachers": {"wordpiece": trained(0.891, 0.899)}})
    card = model_card(result.model_copy(update={"feedback": changed}), config)
    [line] = [line for line in card.splitlines() if line.startswith("- Feedback:")]
    assert "`wordpiece`" in line
    assert paper in line
    assert "before feedback; on validation 0.891 → 0.899" in card


def test_sizes_read_well() -> None:
    assert [size(x) for x in (0, 999, 8192, 2_457_600, 3.2e9, 1e13)] == [
        "0 B", "999 B", "8.19 kB", "2.46 MB", "3.2 GB", "10 TB",
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 0.000412, 0.0123, 1.2)] == ["0 %", "0.0412 %", "1.23 %", "120 %"]

"""What teachers learnt from their student, as the page, its pictures, the table and the card say it."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from reading import LONG, assert_readable, pictures, read, said, series, text_of
from rich.console import Console

from raykd.display.text import percent, size
from raykd.report import final_table, model_card, read_run, render
from raykd.report.curves import Series
from raykd.report.feedback_data import FeedbackData
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.feedback_figures import cosines, quiz_losses, teachers_over_steps

Folder = Callable[..., Path]
Feedback = Callable[..., dict[str, Any]]
NAMES = ("wordpiece-4x128", "bpe-2x96", "wordpiece-2x64")
PICTURES = {"taught", "quiz", "cosines"}


@pytest.fixture
def taught_run(make_run: Folder, result: dict[str, Any], make_feedback: Feedback) -> Path:
    result["feedback"] = make_feedback(NAMES)
    result["splits"]["quiz"] = {"split": "train", "rows": 384, "used_for": ["feedback to the teachers"]}
    return make_run(result, taught=NAMES)


def test_a_finished_run_says_what_its_teachers_learnt(taught_run: Path) -> None:
    text, reader = read(render(taught_run).read_text(encoding="utf-8"))
    for part in (
        "In 300 rounds of MetaDistil the teachers learnt from the student's loss on quiz rows after a pilot step",
        "The mean loss on them was 0.4321 before that step and 0.4289 after it.",
        "was taken in forward mode (torch.func.jvp runs on this student).",
        "wordpiece-4x128 ended better than it began (validation accuracy 0.891 → 0.899, +0.008).",
        "bpe-2x96 ended worse than it began (validation accuracy 0.870 → 0.866, -0.004).",
        "wordpiece-2x64 ended as it began (validation accuracy 0.857 → 0.857).",
        "All of these changes are smaller than chance moves an accuracy on 872 rows.",
        "a mean cosine of 0.21",
        "about 21 % of such a gradient's squared length was signal",
        # 14.83 s of the 148.3 s of the run; 2,457,600 bytes in 300 rounds
        "Feedback took 15 s, 10 % of the run's time; 2.46 MB went over the wire (8.19 kB a round).",
        "quiz train 384 feedback to the teachers",
        "teacher wordpiece-4x128 0.891 → 0.899 +0.101",
    ):
        assert part in text, part
    assert "surrogate" not in text
    assert pictures(taught_run) >= PICTURES
    assert len(reader.sources) == 2 * (5 + len(PICTURES))


def test_the_table_of_teachers_has_versions_drift_and_the_norm_of_each_term(taught_run: Path) -> None:
    at = FeedbackData.of(read_run(taught_run))
    assert at is not None
    measured = at.teachers[0].cosine_quiz.y
    assert len(measured) == 30
    row = rf"wordpiece-4x128 0\.891 → 0\.899 \+0\.008 300 0\.098 % {sum(measured) / 30:.2f} 0\.02 1\.5 "
    assert re.search(row, text_of(taught_run))
    successive = [value for one in at.teachers for value in one.cosine_last.y]
    assert f"before it the mean cosine was {sum(successive) / len(successive):.2f}" in text_of(taught_run)


def test_ikd_has_an_exam_and_names_its_surrogate(
    make_run: Folder, result: dict[str, Any], make_feedback: Feedback
) -> None:
    result["feedback"] = make_feedback(NAMES[:1], "ikd")
    text = text_of(make_run(result, taught=NAMES[:1]))
    assert "rounds of IKD the teacher learnt from the student's loss on exam rows after the student's own step." in text
    assert "The gradient is a surrogate: v is divided by Adam's second moments, held constant." in text
    assert "That change is smaller than chance moves an accuracy on 872 rows." in text
    assert "pilot" not in text


@pytest.mark.parametrize("names", [NAMES[:1], NAMES])
def test_an_unfinished_run_says_it_from_its_log(make_run: Folder, names: tuple[str, ...]) -> None:
    folder = make_run({}, baselines=(), steps=240, taught=names)
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"feedback": {"type": "metadistil"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    text, _ = read(render(folder).read_text(encoding="utf-8"))
    assert "This run is not finished: in 120 rounds of MetaDistil so far the teacher" in text
    assert "wordpiece-4x128 stands better than it began" in text
    assert "Feedback took 6.0 s; 983 kB went over the wire (8.19 kB a round)." in text
    assert pictures(folder) == {"metric", "loss"} | PICTURES


def test_missing_fields_are_left_out(tmp_path: Path) -> None:
    """Only what the contract promises, with a NaN that the log wrote as null."""
    events = [
        {"event": "plan", "steps": 9, "metric": "accuracy"},
        {"event": "teacher_eval", "step": 0, "teachers": {"t": {"version": 0, "scores": {"accuracy": None}}}},
        {"event": "feedback", "step": 1, "quiz_after": 0.5, "teachers": {"t": {"version": 1, "grad_norm": 1.0}}},
        {"event": "feedback", "step": 2, "quiz_after": None, "teachers": {"t": {"version": 2, "cosine_quiz": None}}},
        {"event": "feedback", "step": 3},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    text, _ = read(render(tmp_path).read_text(encoding="utf-8"))
    assert "in 3 rounds of feedback so far the teacher learnt" in text
    assert "The mean loss on them was 0.5000 after it." in text
    assert "Signal against noise" not in text
    assert pictures(tmp_path) == {"quiz"}


@pytest.mark.parametrize("feedback", [{}, {"type": "ikd"}, {"teachers": {"t": {}}, "seconds": None, "rounds": 0}])
def test_the_barest_feedback_is_enough(tmp_path: Path, feedback: dict[str, Any]) -> None:
    result = {"name": "bare", "metric": "accuracy", "value": 0.5, "feedback": feedback}
    (tmp_path / "result.json").write_text(json.dumps(result))
    text, _ = read(render(tmp_path).read_text(encoding="utf-8"))
    assert ("What the teachers learnt" in text) == bool(feedback)
    assert model_card(result, {})
    assert final_table(result).row_count == 1


def test_many_teachers_are_counted(make_run: Folder, result: dict[str, Any], make_feedback: Feedback) -> None:
    names = tuple(f"t{k}" for k in range(8))
    result["feedback"] = make_feedback(names)
    text = text_of(make_run(result))
    assert "Of 8 taught teachers 3 ended better than they began, 3 worse and 2 the same" in text


def logged(folder: Path, feedback: dict[str, Any], *told: dict[str, float]) -> str:
    """The page of a run whose log has these rounds of one teacher."""
    events = [{"event": "feedback", "step": k + 1, "teachers": {"t": one}} for k, one in enumerate(told)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "config.yaml").write_text(yaml.safe_dump({"feedback": {"type": "ikd", **feedback}}))
    return text_of(folder)


def test_a_term_that_drowns_another_and_steps_cut_to_one_length_are_said(tmp_path: Path) -> None:
    loud = {"grad_norm": 4000.0, "norm_feedback": 4000.0, "norm_ce": 4.0, "norm_anchor": 1e-6}
    text = logged(tmp_path, {"teacher_max_grad_norm": 1.0}, *[loud] * 4, {"grad_norm": 0.5})
    assert "The gradient of t's term feedback was on the mean 1,000 times as long as that of own labels" in text
    assert "that of anchor" not in text
    assert "In 80 % of the teachers' steps the gradient was longer than teacher_max_grad_norm (1)" in text


def test_terms_alike_and_steps_of_many_lengths_need_no_word(tmp_path: Path) -> None:
    quiet = {"grad_norm": 5.0, "norm_feedback": 4.0, "norm_ce": 3.0}
    for clip in ({"teacher_max_grad_norm": None}, {"teacher_max_grad_norm": 6.0}, {}):
        text = logged(tmp_path, clip, quiet)
        assert "What the teachers learnt" in text
        assert "hardly counted" not in text
        assert "longer than teacher_max_grad_norm" not in text


def test_a_student_that_is_not_heard_is_said_so(tmp_path: Path) -> None:
    text = logged(tmp_path, {"weight": 0.0}, {"grad_norm": 5.0, "norm_feedback": 0.0, "norm_ce": 5.0})
    assert "the teacher did not hear the student (feedback.weight is 0) and learnt from the other terms alone." in text
    assert "hardly counted" not in text
    assert "quiz" not in text


def test_gradients_without_signal_are_called_so(
    make_run: Folder, result: dict[str, Any], make_feedback: Feedback
) -> None:
    result["feedback"] = make_feedback(NAMES) | {"cosine_quiz": -0.01}
    assert "next to nothing here was signal" in text_of(make_run(result))


def test_without_feedback_there_is_no_word_of_it(
    make_run: Folder, result: dict[str, Any], config: dict[str, Any]
) -> None:
    folder = make_run(result)
    assert FeedbackData.of(read_run(folder)) is None
    assert "What the teachers learnt" not in text_of(folder)
    assert "Feedback" not in model_card(result, config)


def test_names_do_not_become_markup(make_run: Folder, result: dict[str, Any], make_feedback: Feedback) -> None:
    evil = "</style><script>alert('x')</script>"
    result["feedback"] = make_feedback((evil,)) | {"route_reason": evil}
    assert text_of(make_run(result)).count(evil) >= 3


def test_what_the_student_gave_back_is_the_loss_before_less_after(taught_run: Path) -> None:
    at = FeedbackData.of(read_run(taught_run))
    assert at is not None
    assert len(at.gain.x) == 300
    assert at.gain.y == pytest.approx([b - a for b, a in zip(at.before.y, at.after.y, strict=True)])
    assert [len(one.cosine_last.x) for one in at.teachers] == [29] * 3
    assert at.teachers[0].scores.x[0] == 0


@pytest.mark.parametrize("width", [60, 100])
def test_the_final_table_shows_where_a_taught_teacher_began(
    result: dict[str, Any], make_feedback: Feedback, width: int
) -> None:
    result["feedback"] = make_feedback(NAMES[:1])
    file = io.StringIO()
    Console(file=file, width=width).print(final_table(result))
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert "0.891" in flat
    assert "+0.101" in flat  # what it ended with, against the student alone
    assert ("0.891 -> 0.899" in flat) or width < 100
    assert flat.count("->") == 1


@pytest.mark.parametrize(
    ("kind", "cited"),
    [
        ("metadistil", "MetaDistil (Zhou, Xu, McAuley, “BERT Learns to Teach”, ACL 2022, arXiv 2106.04570)"),
        ("ikd", "IKD (Liu, Sun, Qiu, Huang, “Learning to Teach with Student Feedback”, arXiv 2109.04641)"),
    ],
)
def test_the_card_cites_the_method(
    result: dict[str, Any], config: dict[str, Any], make_feedback: Feedback, kind: str, cited: str
) -> None:
    result["feedback"] = make_feedback(NAMES[:2], kind)
    card = model_card(result, config)
    [line] = [line for line in card.splitlines() if line.startswith("- Feedback:")]
    assert line.startswith(
        f"- Feedback: the teachers `wordpiece-4x128` and `bpe-2x96` learnt from the student by {cited}"
    )
    assert ("Adam's second moments" in line) == (kind == "ikd")
    assert "| teacher `wordpiece-4x128` | 0.891 → 0.899, taught |" in card


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("points", [1, 2, 300])
@pytest.mark.parametrize("teachers", [1, 3, 8])
def test_pictures_are_readable(theme: Theme, points: int, teachers: int) -> None:
    named = {f"{LONG} {k}": series(0.2 + 1e-4 * k, points) for k in range(teachers)}
    assert_readable(teachers_over_steps(named, named, "accuracy", theme))
    assert_readable(cosines(named, named, theme))
    assert_readable(quiz_losses(series(0.4, points), series(0.39, points), series(0.01, points), "course step", theme))


def test_pictures_of_what_is_there() -> None:
    one, constant = {"t": series(0.8)}, Series.of((k, 0.0) for k in range(3))
    for figure in (
        teachers_over_steps(one, {}, "accuracy"),
        teachers_over_steps({}, {"t": constant}, "pearson"),
        cosines(one, {}),
        cosines({"t": constant}, {"t": constant}),
        quiz_losses(Series(), series(0.4), Series()),
        quiz_losses(constant, constant, constant),
    ):
        assert_readable(figure)
    both = quiz_losses(series(0.4), series(0.39), series(0.01))
    assert {"before the pilot", "after the pilot"} <= set(said(both).splitlines())
    assert len(both.axes) == 2  # one axis a panel, never a twin


def test_sizes_read_well() -> None:
    assert [size(x) for x in (0, 999, 8192, 2_457_600, 3.2e9, 1e13)] == [
        "0 B", "999 B", "8.19 kB", "2.46 MB", "3.2 GB", "10 TB",
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 0.000412, 0.0123, 1.2)] == ["0 %", "0.0412 %", "1.23 %", "120 %"]

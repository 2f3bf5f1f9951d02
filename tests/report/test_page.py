"""The page: self-contained and true for finished and unfinished runs, whatever they lack or contain."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import pictures, read, text_of

from raykd.errors import ConfigError, RaykdError
from raykd.report import render
from raykd.report.html import prose, tag

Folder = Callable[..., Path]
Result = Callable[..., dict[str, Any]]


def test_a_finished_run(make_run: Folder, result: dict[str, Any]) -> None:
    folder = make_run(result)
    page = render(folder)
    assert page == folder / "report.html"
    text, reader = read(page.read_text(encoding="utf-8"))
    assert "The student reached an accuracy of 0.834 on 872 validation rows." in text
    assert "Distillation closed 39 % of the gap between the same student trained without a teacher (0.798)" in text
    assert "Test (1,821 rows): accuracy 0.826, F1 0.822." in text
    for part in (
        "teacher wordpiece-4x128",
        "baseline in_loop",
        "Class by class",
        "98 % of its own speed",
        "torch 2.13.0",
    ):
        assert part in text
    assert pictures(folder) == {"comparison", "metric", "loss", "confusion", "efficiency"}
    assert len(reader.sources) == 2 * 5  # each in light and in dark
    assert not list(folder.glob("*.new"))
    again = page.read_text(encoding="utf-8")
    assert render(folder).read_text(encoding="utf-8") == again


def test_the_numbers_of_the_classes_follow_from_the_confusion_matrix(make_run: Folder, result: dict[str, Any]) -> None:
    result["confusion"], result["labels"] = [[30, 10], [20, 40]], ["no", "yes"]
    text = text_of(make_run(result))
    assert f"no 40 {30 / 40:.3f} {30 / 50:.3f} {2 * 0.75 * 0.6 / 1.35:.3f}" in text
    assert f"yes 60 {40 / 60:.3f} {40 / 50:.3f}" in text


@pytest.mark.parametrize(
    ("student", "alone", "teacher", "said"),
    [
        (0.79, 0.80, 0.89, "not pay here: the same student trained without a teacher (0.800) did better, by 0.010."),
        (0.80, 0.80, 0.89, "made no difference"),
        (0.90, 0.80, 0.89, "closed the whole gap"),
        (0.85, 0.80, 0.78, "there was no gap to close"),
        (0.845, 0.80, 0.89, "closed 50 % of the gap"),
    ],
)  # fmt: skip
def test_what_the_teachers_gave_is_said_as_it_is(
    make_run: Folder, make_result: Result, student: float, alone: float, teacher: float, said: str
) -> None:
    text = text_of(make_run(make_result(student=student, alone=alone, teacher=teacher)))
    assert said in text


def test_a_difference_within_chance_is_called_so(make_run: Folder, make_result: Result) -> None:
    text = text_of(make_run(make_result(student=0.81, alone=0.80)))
    # Wilson: half = z / (1 + z²/n) · √(p(1 − p)/n + z²/(4n²)) with z = 1.96, p = 0.81, n = 872
    half = 1.96 / (1 + 3.8416 / 872) * (0.81 * 0.19 / 872 + 3.8416 / (4 * 872**2)) ** 0.5
    assert f"±{half:.3f} (95 %): the difference of 0.010 is smaller, so one seed does not settle it" in text


def test_a_run_without_baselines_test_or_teachers_numbers(make_run: Folder, result: dict[str, Any]) -> None:
    for key in (
        "baselines",
        "test",
        "gap",
        "efficiency",
        "confusion",
        "labels",
        "student",
        "splits",
        "data",
        "seconds",
    ):
        del result[key]
    result["teachers"] = [{"name": "t", "metric": None}]
    folder = make_run(result, baselines=())
    text, _ = read(render(folder).read_text(encoding="utf-8"))
    assert "what the teachers added is not known" in text
    assert pictures(folder) == {"metric", "loss"}


def test_the_barest_result_is_enough(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"name": "bare", "metric": "accuracy", "value": 0.5}))
    text, _ = read(render(tmp_path).read_text(encoding="utf-8"))
    assert "The student reached an accuracy of 0.500 on validation." in text


def test_a_regression(regression: Path) -> None:
    text, _ = read(render(regression).read_text(encoding="utf-8"))
    assert "The student reached a Pearson correlation of 0.842" in text
    assert "chance alone" not in text
    assert pictures(regression) == {"comparison", "metric", "loss", "scatter", "efficiency"}


def test_predictions_that_cannot_be_read_are_a_warning(regression: Path) -> None:
    (regression / "predictions.parquet").write_bytes(b"PAR1 and then nothing")
    text = text_of(regression)
    assert "predictions.parquet cannot be read" in text


def test_an_unfinished_run_shows_its_curves_so_far(make_run: Folder) -> None:
    folder = make_run({}, baselines=(), steps=240)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"event": "step", "st')
    text, _ = read(render(folder).read_text(encoding="utf-8"))
    assert "This run is not finished" in text
    assert "The student is at step 240 of 600" in text
    assert pictures(folder) == {"metric", "loss"}


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: just-begun\n")
    text, _ = read(render(tmp_path).read_text(encoding="utf-8"))
    assert "Nothing has been logged yet" in text
    (tmp_path / "metrics.jsonl").write_text('{"event": "phase", "phase": "soft targets", "time": 1.0}\n')
    text, _ = read(render(tmp_path).read_text(encoding="utf-8"))
    assert "It was last busy with: soft targets." in text


def test_nothing_that_a_run_contains_becomes_markup(make_run: Folder, result: dict[str, Any]) -> None:
    evil = "</style><script>alert('x')</script>\"'&"
    result |= {"name": evil, "labels": [evil, "b"], "warnings": [evil]}
    result["versions"][evil] = evil
    result["splits"][evil] = {"split": evil, "rows": 1, "used_for": [evil]}
    result["teachers"][0] |= {"name": evil, "address": evil}
    result["baselines"][evil] = {"value": 0.5}
    folder = make_run(result)
    (folder / "config.yaml").write_text(evil)
    text = text_of(folder)
    assert text.count(evil) >= 9


def test_many_classes_show_the_weakest(
    make_run: Folder, result: dict[str, Any], make_confusion: Callable[..., list[list[int]]]
) -> None:
    result["confusion"] = make_confusion(np.random.default_rng(0), 50, 0.9, 5000)
    result["confusion"][17] = [100] + [0] * 49
    result["labels"] = [f"intent-{k}" for k in range(50)]
    text = text_of(make_run(result))
    assert "the 30 with the lowest F1 of 50" in text
    assert re.search(r"F1 intent-17 100 0\.000", text)


def test_overlap_and_warnings_are_shown(make_run: Folder, result: dict[str, Any]) -> None:
    result["warnings"], result["data"]["overlap"] = ["teacher bpe-2x96 is at the majority class"], 12
    text = text_of(make_run(result))
    assert "teacher bpe-2x96 is at the majority class" in text
    assert "12 validation rows stand in train as well: the figures flatter" in text


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder") as missing:
        render(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"is no run's folder") as foreign:
        render(tmp_path)
    assert all("\n" not in str(error.value) and error.value.status == 2 for error in (missing, foreign))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_result_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(RaykdError, match=r"result\.json: is damaged") as error:
        render(tmp_path)
    assert "\n" not in str(error.value)


def test_html_escapes_text_and_keeps_markup() -> None:
    assert tag("p", "a < b", tag("b", "c & d"), class_='"') == '<p class="&quot;">a &lt; b<b>c &amp; d</b></p>'
    assert prose("put `a<b` there") == "put <code>a&lt;b</code> there"

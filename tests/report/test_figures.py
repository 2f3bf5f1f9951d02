"""The pictures: all kinds of data give a figure whose labels stay apart, inside it, and say what was given."""

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
from reading import LONG, assert_readable, said, series

from raykd.report.curves import Curves, Series
from raykd.report.figures.canvas import DARK, LIGHT, Theme, keep_apart, short
from raykd.report.figures.prediction_figures import confusion_matrix, predicted_true, readable_on
from raykd.report.figures.training_figures import efficiency, loss_curves, metric_curves, smoothed, value_comparison


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("points", [1, 2, 300])
def test_loss_curves(theme: Theme, points: int) -> None:
    models = {"student": series(0.2, points), "alone": series(0.2, points), "uniform": series(0.21, points)}
    parts = {"soft": series(0.1, points), "hard": series(0.2001, points)}
    figure = loss_curves(models, {"student": series(0.4, points), "alone": series(0.4, points)}, parts, theme)
    assert_readable(figure)
    assert {"student", "alone", "uniform", "soft", "hard"} <= set(said(figure).splitlines())


def test_loss_curves_of_a_run_that_was_not_evaluated_yet() -> None:
    assert_readable(loss_curves({"student": series(0.2)}, {}))


@pytest.mark.parametrize("teachers", [0, 1, 5, 9])
def test_metric_curves(teachers: int) -> None:
    values = {f"{LONG} {k}": 0.8 + 0.0001 * k for k in range(teachers)}
    figure = metric_curves(
        {"student": series(0.8), "alone": series(0.8), "in_loop": series(0.7999)}, values, "accuracy"
    )
    assert_readable(figure)
    assert "student (best 1.300)" in said(figure)
    if teachers == 9:  # too many to be told apart: the ends of the range
        assert f"weakest of 9 {0.8:.3f}" in said(figure)
        assert "best: " in said(figure)


def test_metric_curves_where_nothing_ever_changes() -> None:
    constant = Series.of((k, 0.0) for k in range(3))
    assert_readable(metric_curves({"student": constant, "alone": constant}, {"t": 0.0}, "pearson"))


@pytest.mark.parametrize("rows", [0, 872])
@pytest.mark.parametrize("teachers", [1, 8])
def test_value_comparison(rows: int, teachers: int) -> None:
    values = {f"{LONG} {k}": 0.9 - 0.001 * k for k in range(teachers)}
    figure = value_comparison(values, {"alone": 0.8, "in_loop": 0.84}, 0.841, "accuracy", rows)
    assert_readable(figure)
    assert {"student", "baseline alone", "baseline in_loop", "0.841"} <= set(said(figure).splitlines())


def test_value_comparison_where_all_are_equal_or_perfect() -> None:
    assert_readable(value_comparison({"t": 1.0}, {"alone": 1.0}, 1.0, "accuracy", 50))
    assert_readable(value_comparison({}, {"alone": 0.0}, 0.0, "pearson"))


@pytest.mark.parametrize("classes", [2, 3, 6, 12, 30, 77])
def test_confusion_matrix(classes: int, make_confusion: Callable[..., list[list[int]]]) -> None:
    counts = make_confusion(np.random.default_rng(0), classes, 0.8, 100_000)
    names = [f"{LONG} number {k}" if classes > 3 else f"class {k}" for k in range(classes)]
    figure = confusion_matrix(counts, names)
    assert_readable(figure)
    if classes <= 12:
        assert f"{counts[0][0]:,}\n{100 * counts[0][0] / sum(counts[0]):.0f} %" in said(figure)


def test_confusion_matrix_of_awkward_names_and_an_absent_class() -> None:
    figure = confusion_matrix([[3, 0, 0], [0, 0, 0], [1, 0, 2]], ["costs $5 or $x^", "two\nlines\there", "{%_\\"])
    assert_readable(figure)
    assert "two lines here" in said(figure)
    assert "0\n0 %" in said(figure)


def test_confusion_matrix_numbers_classes_that_have_no_names() -> None:
    assert {"0", "1"} <= set(said(confusion_matrix([[3, 1], [0, 2]], [])).splitlines())


@pytest.mark.parametrize("ground", ["#ffffff", "#0072b2", "#000000", "#8abfe0"])
def test_text_stands_out_on_any_ground(ground: str) -> None:
    chosen = readable_on([int(ground[k : k + 2], 16) / 255 for k in (1, 3, 5)], LIGHT)
    assert chosen == (LIGHT.ink if ground in ("#ffffff", "#8abfe0") else LIGHT.ground)


def test_predicted_against_true() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 5, 9000)
    assert_readable(predicted_true(true, true + rng.normal(0, 0.5, 9000)))
    assert_readable(predicted_true(np.array([2.0]), np.array([2.0])))


def test_efficiency() -> None:
    seconds = {"soft targets": 0.0, "student waits": 0.3, "student learns": 4000.0}
    assert_readable(efficiency(607.4, 621.0, seconds))
    assert_readable(efficiency(60_700.0, None, dict.fromkeys(seconds, 0.0), DARK))
    assert "student learns: 4,000.0 s (100 %)" in said(efficiency(607.4, 621.0, seconds))


def test_labels_are_moved_apart_as_little_as_needed() -> None:
    assert keep_apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert keep_apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert keep_apart([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])
    assert keep_apart([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert keep_apart([], 0.1) == []
    rng = random.Random(0)
    for _ in range(200):
        moved = keep_apart(sorted(rng.random() for _ in range(rng.randint(1, 8))), 0.1)
        assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(moved))
        assert moved[0] >= -1e-9
        assert moved[-1] <= 1 + 1e-9


def test_names_are_cut_in_the_middle() -> None:
    assert short("short one") == "short one"
    assert short("a\nb") == "a b"
    assert short("teacher-number-one-of-many-12") == "teacher-number…many-12"
    assert len(short("x" * 99)) == 22


def test_a_running_mean_keeps_a_constant_and_follows_a_change() -> None:
    assert smoothed(Series.of((k, 2.0) for k in range(100))) == pytest.approx([2.0] * 100)
    step = smoothed(Series.of((k, float(k >= 50)) for k in range(100)))
    assert step[49] == 0.0
    assert step[60] > 0.95
    assert smoothed(series(1.0, 5)) == list(series(1.0, 5).y)


def test_curves_take_the_last_word_on_a_step_and_leave_out_what_is_no_number() -> None:
    events = [
        {"event": "plan", "steps": 30, "epochs": 3, "metric": "f1"},
        {"event": "step", "step": 10, "loss": 1.0},
        {"event": "step", "step": 20, "loss": 5.0},
        {"event": "step", "step": 20, "loss": None},
        {"event": "step", "step": 30, "loss": 0.5, "soft": 0.25},
        {"event": "eval", "step": 10, "scores": {"f1": 0.7}, "loss": 0.6},
        {"event": "eval", "step": 20, "scores": {"f1": 0.8}, "loss": 0.5},
        {"event": "eval", "step": 30, "scores": {"f1": 0.8}, "loss": None},
    ]
    curves = Curves.of(events)
    assert curves.losses == {"loss": Series((10, 30), (1.0, 0.5)), "soft": Series((30,), (0.25,))}
    assert curves.scores == Series((10, 20, 30), (0.7, 0.8, 0.8))
    assert curves.validation_loss == Series((10, 20), (0.6, 0.5))
    assert (curves.metric, curves.steps, curves.step, curves.best) == ("f1", 30, 30, (20, 0.8))
    assert Curves.of([]).best is None

"""The pictures: all kinds of data give a figure whose labels are apart, inside it, and right."""

import itertools
import random

import numpy as np
import pytest
from reading import LONG, assert_readable, series, text_in

from raykd.records.series import Series
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
    assert {"student", "alone", "uniform", "soft", "hard"} <= set(text_in(figure).splitlines())


def test_loss_curves_of_a_run_that_was_not_evaluated_yet() -> None:
    assert_readable(loss_curves({"student": series(0.2)}, {}))


@pytest.mark.parametrize("teachers", [0, 1, 5, 9])
def test_metric_curves(teachers: int) -> None:
    values = {f"{LONG} {k}": 0.8 + 0.0001 * k for k in range(teachers)}
    figure = metric_curves(
        {"student": series(0.8), "alone": series(0.8), "in_loop": series(0.7999)}, values, "accuracy"
    )
    assert_readable(figure)
    assert "student (best 1.300)" in text_in(figure)
    if teachers == 9:  # too many to be told apart: the ends of the range
        assert f"weakest of 9 {0.8:.3f}" in text_in(figure)
        assert "best: " in text_in(figure)


def test_metric_curves_where_nothing_ever_changes() -> None:
    constant = Series.of((k, 0.0) for k in range(3))
    assert_readable(metric_curves({"student": constant, "alone": constant}, {"t": 0.0}, "pearson"))


@pytest.mark.parametrize("rows", [0, 872])
@pytest.mark.parametrize("teachers", [1, 8])
def test_value_comparison(rows: int, teachers: int) -> None:
    values = {f"{LONG} {k}": 0.9 - 0.001 * k for k in range(teachers)}
    figure = value_comparison(values, {"alone": 0.8, "in_loop": 0.84}, 0.841, "accuracy", rows)
    assert_readable(figure)
    assert {"student", "baseline alone", "baseline in_loop", "0.841"} <= set(text_in(figure).splitlines())


def test_value_comparison_where_all_are_equal_or_perfect() -> None:
    assert_readable(value_comparison({"t": 1.0}, {"alone": 1.0}, 1.0, "accuracy", 50))
    assert_readable(value_comparison({}, {"alone": 0.0}, 0.0, "pearson"))


@pytest.mark.parametrize("classes", [2, 3, 6, 12, 30, 77])
def test_confusion_matrix(classes: int) -> None:
    rng, share = np.random.default_rng(0), np.full((classes, classes), 0.2 / max(classes - 1, 1))
    np.fill_diagonal(share, 0.8)
    counts = [[int(n) for n in rng.multinomial(100_000 // classes, row)] for row in share]
    names = [f"{LONG} number {k}" if classes > 3 else f"class {k}" for k in range(classes)]
    figure = confusion_matrix(counts, names)
    assert_readable(figure)
    if classes <= 12:
        assert f"{counts[0][0]:,}\n{100 * counts[0][0] / sum(counts[0]):.0f} %" in text_in(figure)


def test_confusion_matrix_of_awkward_names_and_an_absent_class() -> None:
    figure = confusion_matrix([[3, 0, 0], [0, 0, 0], [1, 0, 2]], ["costs $5 or $x^", "two\nlines\there", "{%_\\"])
    assert_readable(figure)
    assert "two lines here" in text_in(figure)
    assert "0\n0 %" in text_in(figure)


def test_confusion_matrix_numbers_classes_that_have_no_names() -> None:
    assert {"0", "1"} <= set(text_in(confusion_matrix([[3, 1], [0, 2]], [])).splitlines())


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
    assert "student learns: 4,000.0 s (100 %)" in text_in(efficiency(607.4, 621.0, seconds))


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

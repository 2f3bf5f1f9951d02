"""The page, table and pictures of a comparison, from a result written out by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from reading import LONG, assert_readable, read
from rich.console import Console

from raykd.display.compare_table import compare_table
from raykd.display.compare_text import interval, probability
from raykd.records.compare_result import ArmResult, CompareResult, DifferenceResult, DrawResult, Verdict
from raykd.report import compare_page
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.compare_figures import forest, values

EVIL = "</style><script>alert('x')</script>\"'&"


def arm(name: str, *accuracies: float) -> ArmResult:
    draws = [DrawResult(folder=f"runs/{name}-{k}", seed=k, data_seed=0, value=v) for k, v in enumerate(accuracies)]
    return ArmResult(
        name=name, model="student", settings={"objective.alpha": 0.5}, draws=draws,
        mean=sum(accuracies) / len(accuracies), deviation=0.01 if len(accuracies) > 1 else None, seconds=75.0,
        rows_computed=4000, parameters=31_000,
    )  # fmt: skip


def entry(name: str, value: float, half: float, mcnemar: float | None = None) -> DifferenceResult:
    low, high = value - 1.3 * half, value + 1.3 * half
    verdict: Verdict = "higher" if low > 0 else "lower" if high < 0 else "not settled"
    return DifferenceResult(
        arm=name, value=value, interval=(value - half, value + half), simultaneous=(low, high), p=0.012, p_holm=0.036,
        mcnemar=mcnemar, mcnemar_holm=mcnemar, paired=True, verdict=verdict,
    )  # fmt: skip


@pytest.fixture
def result() -> CompareResult:
    return CompareResult(
        metric="accuracy", split="test", rows=1821, reference="alone", alpha=0.05, resamples=10_000, seed=0,
        arms=[arm("alone", 0.78, 0.79), arm("soft", 0.83, 0.84), arm("worse", 0.70, 0.71), arm("noise", 0.79, 0.80)],
        differences=[entry("soft", 0.05, 0.012), entry("worse", -0.08, 0.02), entry("noise", 0.01, 0.009)],
        warnings=["an arm has only 2 draws"],
    )  # fmt: skip


def test_a_difference_is_claimed_only_where_the_adjusted_interval_leaves_out_0(
    result: CompareResult, tmp_path: Path
) -> None:
    """`noise` is apart from 0 by its own interval, [0.001, 0.019], and not by the adjusted one."""
    text, reader = read(compare_page.render(result, tmp_path).read_text(encoding="utf-8"))
    assert "Higher: soft (+0.050 [+0.034, +0.066])." in text
    assert "Lower: worse (-0.080 [-0.106, -0.054])." in text
    assert "Not settled: noise" in text
    assert "2 of 3" in text
    assert "98.33 %, so that all 3 hold together" in text
    for part in ("objective.alpha 0.5", "runs/soft-1", "an arm has only 2 draws", "1 min 15 s", "10,000 resamples"):
        assert part in text, part
    assert len(reader.sources) == 2 * 2
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"differences.png", "values.png"}


def test_names_do_not_become_markup(result: CompareResult, tmp_path: Path) -> None:
    evil = result.model_copy(
        update={"reference": EVIL, "differences": [entry(EVIL, 0.1, 0.01)], "arms": [arm(EVIL, 1)]}
    )
    text, reader = read(compare_page.render(evil, tmp_path).read_text(encoding="utf-8"))
    assert text.count(EVIL) >= 4
    assert "script" not in reader.tags


@pytest.mark.parametrize("width", [80, 160])
def test_the_table(result: CompareResult, width: int) -> None:
    exact = result.model_copy(update={"differences": [entry("soft", 0.05, 0.012, mcnemar=0.0004)]})
    file = io.StringIO()
    Console(file=file, width=width).print(compare_table(exact))
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert "only one arm is compared" in flat
    assert "Caution: an arm has only 2 draws." in flat
    if width > 100:
        for part in (
            "0.785 ± 0.010",
            "+0.050",
            "[+0.034, +0.066]",
            "0.036",
            "< 0.001",
            "higher",
            "difference from alone",
            "31 k",
        ):
            assert part in flat, part


def test_numbers_read_well() -> None:
    assert interval((-0.0001, 0.0004)) == "[0.000, 0.000]"
    assert [probability(p) for p in (None, 0.00012, 0.0123, 1.0)] == ["-", "< 0.001", "0.012", "1"]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("number_of", [1, 9])
def test_pictures_are_readable(theme: Theme, number_of: int) -> None:
    entries = [entry(f"{LONG} {k}", 0.05 - 0.015 * k, 0.012) for k in range(number_of)]
    assert_readable(forest(entries, LONG, "accuracy", theme))
    assert_readable(values([arm(f"{LONG} {k}", 0.7, 0.71) for k in range(number_of)], LONG, "accuracy", theme))


def test_the_forest_has_its_zero_line_and_ends(result: CompareResult) -> None:
    (axes,) = forest(result.differences, result.reference, result.metric).axes
    lines = [np.asarray(line.get_xdata(), float).tolist() for line in axes.lines]
    assert [0.0, 0.0] in lines
    low, high = axes.get_xlim()
    for shown in result.differences:
        assert list(shown.simultaneous) in lines
        assert list(shown.interval) in lines
        assert low < shown.simultaneous[0] < shown.simultaneous[1] < high
    assert not math.isclose(low, high)

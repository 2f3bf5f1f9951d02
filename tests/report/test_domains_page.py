"""The page, tables and pictures of several domains, from a result and a log written out by hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from reading import LONG, assert_readable, pictures, read
from rich.console import Console

from raykd import api
from raykd.display import domains_text
from raykd.display.domains_table import domains_table
from raykd.errors import ConfigError
from raykd.files import write_text
from raykd.records.compare_result import Difference, Verdict
from raykd.records.domains_result import DomainResult, DomainsResult, ModelValues, SharedTeacherResult
from raykd.records.events import DomainEndedEvent, DomainsPlanEvent, DomainStartedEvent
from raykd.records.log import MetricsLog
from raykd.records.result import read_result
from raykd.report import domains_page
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.domains_figures import values_by_domain

EVIL = "</style><script>alert('x')</script>\"'&"


def gain(value: float, half: float) -> Difference:
    low, high = value - 1.3 * half, value + 1.3 * half
    verdict: Verdict = "higher" if low > 0 else "lower" if high < 0 else "not settled"
    return Difference(value=value, interval=(value - half, value + half), simultaneous=(low, high), verdict=verdict)


def values(student: float | None, alone: float | None, teacher: float | None, half: float) -> ModelValues:
    difference = gain((student or 0.0) - (alone or 0.0), half)
    return ModelValues(
        student=student, baselines={"alone": alone}, teachers={"bert": teacher}, differences={"alone": difference}
    )


def domain(folder: str, rows: int, of: ModelValues) -> DomainResult:
    return DomainResult(**of.model_dump(), folder=folder, rows=rows, train_rows=24, seconds=75.0)


@pytest.fixture
def result() -> DomainsResult:
    teacher = SharedTeacherResult(
        name="bert", domains=["books", EVIL], parameters=31_000, forwards=500, rows_computed=500, rows_reused=100,
        seconds=2.5, address="abc",
    )  # fmt: skip
    return DomainsResult(
        name="reviews", metric="accuracy", split="test", rows=400,
        domains={"books": domain("books", 300, values(0.86, 0.8, 0.9, 0.02)),
                 EVIL: domain("x-1", 100, values(0.7, 0.71, 0.8, 0.04))},
        macro=values(0.78, 0.755, 0.85, 0.02), micro=values(0.82, 0.775, 0.875, 0.02), teachers=[teacher],
        concurrency=2, alpha=0.05, resamples=10_000, warnings=["books: a weak teacher"], seed=3, versions={"ray": "2"},
        seconds=150.0,
    )  # fmt: skip


@pytest.fixture
def folder(result: DomainsResult, tmp_path: Path) -> Path:
    """A finished one."""
    write_log(tmp_path, {name: entry.folder for name, entry in result.domains.items()})
    write_text(tmp_path / "result.json", result.model_dump_json())
    return tmp_path


def write_log(folder: Path, domains: dict[str, str]) -> MetricsLog:
    log = MetricsLog(folder / "metrics.jsonl")
    log.write(DomainsPlanEvent(metric="accuracy", concurrency=2, domains=domains, named=False))
    return log


def test_a_finished_page_has_values_intervals_and_pictures_and_no_markup_of_names(
    result: DomainsResult, folder: Path
) -> None:
    text, reader = read(api.report(folder).read_text(encoding="utf-8"))
    for part in (
        "The students of 2 domains reached an accuracy of 0.780 in the mean over domains, 0.820 over all 400 test rows",
        "Against alone : +0.025 [-0.001, +0.051] in the mean over domains, not settled; "
        "+0.045 [+0.019, +0.071] over all rows, higher; by domain higher in books; not settled in",
        "+0.060", "[+0.034, +0.086]", "books/report.html", "500 rows in 2.5 s", "100 were stored by earlier runs",
        "books: a weak teacher", "2 domains at a time", "10,000 resamples of the rows, paired",
    ):  # fmt: skip
        assert part in text.replace("`", ""), part
    assert text.count(EVIL) >= 4
    assert "script" not in reader.tags
    assert pictures(folder) == {"values", "differences_alone"}
    assert len(reader.sources) == 2 * 2
    assert read_result(folder / "result.json") == result


def test_an_unfinished_page_has_states_and_reasons(tmp_path: Path) -> None:
    log = write_log(tmp_path, {name: name for name in ("books", "kitchen", "dvd")})
    log.write(DomainStartedEvent(domain="books", time=10.0))
    log.write(DomainEndedEvent(domain="books", state="done", value=0.8, time=25.0))
    log.write(DomainStartedEvent(domain="kitchen", time=11.0))
    log.write(DomainEndedEvent(domain="kitchen", state="failed", reason="its loss is nan", time=12.0))
    text, _ = read(api.report(tmp_path).read_text(encoding="utf-8"))
    for part in ("1 of 3 domains are finished", "its loss is nan", "0.800", "15 s", "waiting"):
        assert part in text, part
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="holds no students of domains"):
        domains_page.render(tmp_path / "none")


@pytest.mark.parametrize("width", [80, 160])
def test_the_tables(result: DomainsResult, width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width).print(domains_table(result))
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert "Caution: books: a weak teacher." in flat
    if width > 100:
        rows = [line.split() for line in text.replace("│", " ").splitlines()]
        assert ["books", "300", "0.900", "0.800", "0.860"] in rows
        assert ["all", "rows", "together", "400", "0.875", "0.775", "0.820"] in rows
        assert ["alone", "books", "+0.060", "[+0.040,", "+0.080]", "[+0.034,", "+0.086]", "higher"] in rows


def test_without_baselines_there_are_values_alone(result: DomainsResult, folder: Path) -> None:
    def bare(of: ModelValues) -> ModelValues:
        return of.model_copy(update={"baselines": {}, "differences": {}})

    plain = result.model_copy(
        update={
            "domains": {name: bare(entry) for name, entry in result.domains.items()},
            "macro": bare(result.macro),
            "micro": bare(result.micro),
        }
    )
    write_text(folder / "result.json", plain.model_dump_json())
    text, _ = read(api.report(folder).read_text(encoding="utf-8"))
    assert "less each baseline" not in text
    assert domains_text.method(plain) == ""
    file = io.StringIO()
    Console(file=file, width=120).print(domains_table(plain))
    assert "difference" not in file.getvalue()


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("number_of", [1, 9])
def test_the_values_by_domain_are_readable(theme: Theme, number_of: int) -> None:
    models = {f"{LONG} {k}$_": 0.8 - 0.01 * k for k in range(number_of)}
    of = ModelValues(student=0.9, baselines=dict(models), teachers={**models, "none": None})
    figure = values_by_domain([(f"{LONG} {k}", of) for k in range(number_of)], "accuracy", theme)
    assert_readable(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    drawn = [np.asarray(line.get_xdata(), float).tolist() for line in figure.axes[0].lines]
    assert [0.9] * number_of in drawn

"""compare.html of a comparison: one file with everything in it, as a run's page is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from raykd.display.compare_text import arm_cells, conclusion, difference_cells, method, probability, settings_text
from raykd.display.durations import duration
from raykd.display.text import count, count_of, metric_name
from raykd.records.compare_result import CompareResult
from raykd.report.figures.compare_figures import forest, values
from raykd.report.figures.picture import DrawnPicture, Picture, draw
from raykd.report.templating import write_page
from raykd.report.views import ComparePage, Headline, Row, Section, Table, Tile

NAME = "compare.html"


def render(result: CompareResult, folder: Path) -> Path:
    """Writes compare.html and figures/*.png into a folder; returns the page's path."""
    drawn = draw(_pictures(result), folder / "figures")
    return write_page(folder, compare_page(result, drawn), NAME)


def compare_page(result: CompareResult, pictures: Sequence[DrawnPicture]) -> ComparePage:
    """The view of a comparison that the template shows, with its pictures: differences first, then values."""
    return ComparePage(
        name=f"Comparison with {result.reference}",
        headline=Headline(conclusion(result)),
        tiles=_tiles(result),
        warnings=result.warnings,
        differences=Section(
            "Differences from the reference", [method(result)], table=_differences(result), pictures=list(pictures[:1])
        ),
        arms=Section("Arms", table=_arms(result), notes=[_arms_note(result)], pictures=list(pictures[1:])),
        runs=Section("Runs", table=_runs(result)),
    )


def _pictures(result: CompareResult) -> list[Picture]:
    forest_caption = (
        "The thick line is the 95 % interval of the difference alone, the thin one is adjusted for the number of "
        "differences. Right of the line at 0 the arm is better than the reference; it is settled, and coloured, only "
        "where the thin interval leaves out 0."
    )
    values_caption = f"Each ring is a draw on {result.split}, the diamond their mean, the line mean ± deviation."
    name = metric_name(result.metric)
    return [
        Picture(
            "differences", f"Difference in {name}", forest_caption,
            partial(forest, result.differences, result.reference, result.metric),
        ),
        Picture("values", f"{name[0].upper()}{name[1:]} of each arm", values_caption,
                partial(values, result.arms, result.reference, result.metric)),
    ]  # fmt: skip


def _tiles(result: CompareResult) -> list[Tile]:
    settled = sum(entry.verdict != "not settled" for entry in result.differences)
    draws = sorted({len(arm.draws) for arm in result.arms})
    each = f"{draws[0]}" if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
    chosen = "checkpoints were chosen on it" if result.split == "validation" else "no checkpoint was chosen on it"
    return [
        Tile("differences settled", f"{settled} of {len(result.differences)}", "adjusted interval without 0"),
        Tile(f"rows of {result.split}", f"{result.rows:,}", chosen),
        Tile("draws of an arm", each, "runs that differ only in seed and data.seed"),
    ]


def _differences(result: CompareResult) -> Table:
    exact = any(entry.mcnemar is not None for entry in result.differences)
    rows = []
    for entry in result.differences:
        *cells, verdict = difference_cells(entry)
        tests = [probability(entry.mcnemar), probability(entry.mcnemar_holm)] if exact else []
        cells.insert(3, probability(entry.p))
        rows.append(Row([entry.arm, *cells, *tests, verdict], highlighted=entry.verdict != "not settled"))
    titles = ["Arm", "difference", "95 % interval", "adjusted interval", "p", "p (Holm)"]
    titles += ["McNemar", "McNemar (Holm)"] * exact + [""]
    return Table.of(titles, rows, text=(0, len(titles) - 1))


def _arms(result: CompareResult) -> Table:
    rows = []
    for arm in result.arms:
        cost = [count_of(arm.labels), duration(arm.seconds), count_of(arm.rows_computed), count(arm.parameters)]
        rows.append(Row([*arm_cells(arm), *cost, settings_text(arm)], highlighted=arm.name == result.reference))
    titles = [
        "Arm",
        f"{metric_name(result.metric)} on {result.split}",
        "draws",
        "labels read",
        "time",
        "teacher rows",
        "parameters",
        "",
    ]
    return Table.of(titles, rows, text=(0, 7))


def _arms_note(result: CompareResult) -> str:
    return (
        "Values are means ± deviations over draws; labels are those that were read for one draw, by the student's "
        "side, by teachers that were fine-tuned and by the choice of the checkpoint; time is that of a draw's "
        "training, of a teacher of its forward "
        "passes; teacher rows are those computed for all draws of the arm (rows found in the store cost nothing)."
        + " The last column has the settings that tell the arms apart."
        * any(arm.settings for arm in result.arms)
    )


def _runs(result: CompareResult) -> Table:
    rows = [
        Row([arm.name, f"{draw.value:.4f}", str(draw.seed), str(draw.data_seed), draw.folder])
        for arm in result.arms
        for draw in arm.draws
    ]
    return Table.of(["Arm", metric_name(result.metric), "seed", "data.seed", "folder"], rows, text=(0, 4))

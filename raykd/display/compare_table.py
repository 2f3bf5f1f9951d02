"""The tables that `raykd compare` prints, and below them the comparison in sentences."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from raykd.display.compare_text import arm_cells, conclusion, difference_cells, method, probability
from raykd.display.durations import duration
from raykd.display.text import count, count_of, metric_name
from raykd.records.compare_result import CompareResult

TONES = {"higher": "green", "lower": "yellow", "not settled": "dim"}


def compare_table(result: CompareResult) -> Group:
    """Rich tables of the arms and of their differences from the reference, and what follows from them."""
    lines = [conclusion(result).replace("`", ""), method(result), *(f"Caution: {text}." for text in result.warnings)]
    return Group(_arms(result), _differences(result), Text("\n".join(lines), "dim"))


def _arms(result: CompareResult) -> Table:
    table = Table(title=Text(f"{metric_name(result.metric)} on {result.split}", "bold"), title_justify="left")
    table.add_column("arm", overflow="fold")
    for title in (f"over {result.rows:,} rows", "draws", "labels read", "time", "teacher rows", "parameters"):
        table.add_column(title, justify="right")
    for arm in result.arms:
        rows = count_of(arm.rows_computed)
        cells = [*arm_cells(arm), count_of(arm.labels), duration(arm.seconds), rows, count(arm.parameters)]
        table.add_row(*map(Text, cells), style="bold" if arm.name == result.reference else "")
    return table


def _differences(result: CompareResult) -> Table:
    table = Table(title=Text(f"difference from {result.reference}", "bold"), title_justify="left")
    exact = any(entry.mcnemar is not None for entry in result.differences)
    table.add_column("arm", overflow="fold")
    for title in ("difference", "95 %", "adjusted", "p (Holm)", *["McNemar"] * exact):
        table.add_column(title, justify="right")
    table.add_column("")
    for entry in result.differences:
        *cells, verdict = difference_cells(entry)
        cells += [probability(entry.mcnemar_holm)] * exact
        table.add_row(Text(entry.arm), *map(Text, cells), Text(verdict, TONES[entry.verdict]))
    return table

"""The tables at the end of `raykd domains`: values by domain, the student's differences, and sentences below."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raykd.display.compare_table import TONES
from raykd.display.domains_text import (
    MACRO,
    MICRO,
    against,
    difference_cells,
    differences_of,
    method,
    reached,
    sharing,
    values_of,
)
from raykd.display.text import metric_name, number
from raykd.records.domains_result import DomainsResult


def domains_table(result: DomainsResult) -> Group:
    """Rich tables of the values and of the student's differences from each baseline, and what follows from them."""
    parts: list[RenderableType] = [_values(result)]
    if result.micro.differences:
        parts.append(_differences(result))
    sentences = [reached(result), *against(result), method(result), sharing(result)]
    lines = [line.replace("`", "") for line in sentences if line]
    lines += [f"Caution: {text}." for text in result.warnings]
    return Group(*parts, Text("\n".join(lines), "dim"))


def _values(result: DomainsResult) -> Table:
    title = Text(f"{result.name}: {metric_name(result.metric)} on {result.split}", "bold")
    table = Table(title=title, title_justify="left")
    table.add_column("domain", overflow="fold")
    for name in ("rows", *result.micro.titled):
        table.add_column(Text(name), justify="right")
    for name, rows, values in values_of(result):
        if name == MACRO:
            table.add_section()
        cells = [name, f"{rows:,}", *map(number, values.titled.values())]
        table.add_row(*map(Text, cells), style="bold" if name in (MACRO, MICRO) else "")
    return table


def _differences(result: DomainsResult) -> Table:
    table = Table(title=Text("the student less each baseline", "bold"), title_justify="left")
    for name in ("baseline", "domain"):
        table.add_column(name, overflow="fold")
    for name in ("difference", "95 %", "adjusted"):
        table.add_column(name, justify="right")
    table.add_column("")
    for baseline, name, entry in differences_of(result):
        *cells, verdict = difference_cells(entry)
        table.add_row(Text(baseline), Text(name), *map(Text, cells), Text(verdict, TONES[entry.verdict]))
        if name == MICRO:
            table.add_section()
    return table

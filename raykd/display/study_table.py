"""What `raykd study` prints in the terminal: the best trials, then what won, in words."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from raykd.display import study_text as words
from raykd.display.text import METRICS, count, number


def study_table(result: dict[str, Any]) -> Table:
    """A rich table of a study's result.json."""
    metric = result["metric"]
    table = Table(title=Text(f"{result['name']}: the best", "bold"), title_justify="left", caption_justify="left")
    table.add_column("trial", overflow="fold")
    table.add_column(METRICS.get(metric, metric), justify="right")
    table.add_column("seeds", justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("values", style="dim", overflow="fold")
    groups = sorted(result["repeated"] or [result["best"]], key=lambda group: -group["mean"])
    for group in groups:
        wide = "" if group["deviation"] is None else f" ± {number(group['deviation'])}"
        style = "bold" if group["trial"] == result["best"]["trial"] else ""
        cells = [
            group["trial"],
            f"{number(group['mean'])}{wide}",
            str(len(group["values"])),
            count(group["parameters"]),
        ]
        table.add_row(*map(Text, cells), Text(words.values(group["params"])), style=style)
    parts = [words.won(result), words.sure(result), words.mattered(result), words.ended(result), words.shared(result)]
    table.caption = Text("\n".join(part for part in parts if part), "dim")
    return table

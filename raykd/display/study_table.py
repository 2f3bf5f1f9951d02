"""The table at a study's end: its best configurations, and below them the result in sentences."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from raykd.display import study_text
from raykd.display.text import count, metric_name, number
from raykd.records.study_result import ConfigurationResult, StudyResult


def study_table(result: StudyResult) -> Table:
    """A rich table of a study's result, the best configuration in bold."""
    table = Table(title=Text(f"{result.name}: the best", "bold"), title_justify="left", caption_justify="left")
    table.add_column("trial", overflow="fold")
    table.add_column(metric_name(result.metric), justify="right")
    table.add_column("seeds", justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("values", style="dim", overflow="fold")
    groups: list[ConfigurationResult] = [*result.repeated] or [result.best]
    for group in sorted(groups, key=lambda group: -group.mean):
        deviation = "" if group.deviation is None else f" ± {number(group.deviation)}"
        cells = [group.trial, f"{number(group.mean)}{deviation}", str(len(group.values)), count(group.parameters)]
        style = "bold" if group.trial == result.best.trial else ""
        table.add_row(*map(Text, cells), Text(study_text.params_text(group.params)), style=style)
    parts = [
        study_text.best_text(result),
        study_text.certainty_text(result),
        study_text.importance_text(result),
        study_text.trials_text(result),
        study_text.sharing_text(result),
    ]
    table.caption = Text("\n".join(part for part in parts if part), "dim")
    return table

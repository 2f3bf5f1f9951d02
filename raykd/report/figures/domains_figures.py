"""The pictures of several domains: plain data in, a matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from raykd.display.text import metric_name, number
from raykd.records.domains_result import ModelValues
from raykd.report.figures.canvas import BODY, LIGHT, SMALL, Theme, new_figure, short, style_axes
from raykd.report.figures.compare_figures import name_rows

SHAPES = "^v<>P*"
"""Of teachers, in their order."""


def values_by_domain(rows: Sequence[tuple[str, ModelValues]], metric: str, theme: Theme = LIGHT) -> Figure:
    """A line for each domain and mean, the first at the top: teachers, baselines as rings, the student as a diamond
    with its value at the right.

    Args:
        rows: title and values of each.
    """
    figure = new_figure(9.2, 2.0 + 0.45 * len(rows), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", metric_name(metric), grid="x")
    ordered = list(rows)[::-1]
    for title, style in _styles(rows[0][1], theme).items():
        points = [(values.titled[title], k) for k, (_, values) in enumerate(ordered)]
        known = [(value, k) for value, k in points if value is not None]
        label = short(title, 30).replace("$", r"\$")
        axes.plot([value for value, _ in known], [k for _, k in known], linestyle="none", label=label, **style)
    for k, (_, values) in enumerate(ordered):
        axes.annotate(
            number(values.student), xy=(1.015, k), xycoords=("axes fraction", "data"), va="center",
            color=theme.student, fontsize=BODY,
        )  # fmt: skip
    name_rows(figure, [title for title, _ in ordered], theme)
    figure.legend(
        loc="outside upper left", ncols=3, fontsize=SMALL, frameon=False, labelcolor=theme.ink, handletextpad=0.3
    )
    return figure


def _styles(values: ModelValues, theme: Theme) -> dict[str, dict[str, Any]]:
    """By title how a model is marked."""
    teachers = {
        f"teacher {name}": {"marker": SHAPES[k % len(SHAPES)], "color": theme.teacher, "ms": 7}
        for k, name in enumerate(values.teachers)
    }
    baselines = {
        f"baseline {name}": {"marker": "o", "mfc": "none", "mec": theme.colour(name), "mew": 1.6, "ms": 7}
        for name in values.baselines
    }
    return {**teachers, **baselines, "student": {"marker": "D", "color": theme.student, "ms": 7}}

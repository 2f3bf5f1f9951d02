"""The pictures of a comparison: plain data in, a matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from raykd.display.compare_text import interval
from raykd.display.text import difference, metric_name, number
from raykd.records.compare_result import ArmResult, Difference, DifferenceResult
from raykd.report.figures.canvas import BODY, LIGHT, Theme, new_figure, short, style_axes

LONGEST = 34


def forest(differences: Sequence[DifferenceResult], reference: str, metric: str, theme: Theme = LIGHT) -> Figure:
    """The difference of each arm from the reference."""
    return difference_rows([(entry.arm, entry) for entry in differences], reference, metric, theme)


def difference_rows(
    rows: Sequence[tuple[str, Difference]], reference: str, metric: str, theme: Theme = LIGHT
) -> Figure:
    """Each difference from the reference, after its name, with its intervals, the one at 95 % thick, the adjusted one
    thin, and a line at 0; coloured where it is settled."""
    figure = new_figure(9.2, 1.35 + 0.45 * len(rows), theme)
    axes = figure.subplots()
    title = f"difference in {metric_name(metric)} from {short(reference, LONGEST)}"
    style_axes(axes, theme, "", "", grid="x")
    axes.set_xlabel(title, fontsize=BODY, color=theme.muted, parse_math=False)
    axes.axvline(0.0, color=theme.ink, linewidth=1.2)
    colours = {"higher": theme.student, "lower": theme.alone, "not settled": theme.muted}
    ordered = list(rows)[::-1]  # the first at the top
    for k, (_, entry) in enumerate(ordered):
        colour = colours[entry.verdict]
        axes.plot(entry.simultaneous, (k, k), color=colour, linewidth=1.3, marker="|", markersize=8)
        axes.plot(entry.interval, (k, k), color=colour, linewidth=4.5, alpha=0.55, solid_capstyle="butt")
        axes.plot(entry.value, k, "o" if entry.verdict == "not settled" else "D", color=colour, ms=7)
        text = f"{difference(entry.value)}  {interval(entry.simultaneous)}"
        axes.annotate(text, xy=(1.015, k), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=BODY)
    name_rows(figure, [name for name, _ in ordered], theme)
    return figure


def values(arms: Sequence[ArmResult], reference: str, metric: str, theme: Theme = LIGHT) -> Figure:
    """Each arm's draws as rings, their mean as a diamond, mean ± deviation as a line."""
    figure = new_figure(9.2, 1.35 + 0.45 * len(arms), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", metric_name(metric), grid="x")
    ordered = list(arms)[::-1]
    for k, arm in enumerate(ordered):
        colour = theme.student if arm.name == reference else theme.muted
        deviation = arm.deviation or 0.0
        axes.plot((arm.mean - deviation, arm.mean + deviation), (k, k), color=colour, linewidth=2, alpha=0.6)
        drawn = [draw.value for draw in arm.draws]
        axes.plot(drawn, [k] * len(drawn), "o", mfc="none", mec=colour, ms=6)
        axes.plot(arm.mean, k, "D", color=colour, ms=7)
        text = number(arm.mean) if arm.deviation is None else f"{number(arm.mean)} ± {number(arm.deviation)}"
        axes.annotate(text, xy=(1.015, k), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=BODY)
    name_rows(figure, [arm.name for arm in ordered], theme)
    return figure


def name_rows(figure: Figure, names: Sequence[str], theme: Theme) -> None:
    """Names the rows of a figure at its left, the last at the top."""
    (axes,) = figure.axes
    axes.set_yticks(range(len(names)), [short(name, LONGEST) for name in names], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.06)

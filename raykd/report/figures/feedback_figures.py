"""The pictures of teachers under feedback: their metric and drift, the quiz loss, the cosines of their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raykd.display.text import metric_name, number, percent
from raykd.records.series import Series
from raykd.report.figures.canvas import LIGHT, Theme, end_labels, new_figure, short, style_axes
from raykd.report.figures.training_figures import limits, smoothed

STYLES = ("-", (0, (5, 2)), (0, (1, 1.3)), "-.")
MOST_LABELS = 6


def teachers_over_steps(
    scores: Mapping[str, Series], drift: Mapping[str, Series], metric: str, theme: Theme = LIGHT
) -> Figure:
    """Left each teacher's metric on validation with a thin line where it began, right the drift of its weights."""
    figure, panels = _panels(bool(scores) + bool(drift), 3.7, theme)
    if scores:
        axes = panels.pop(0)
        style_axes(axes, theme, f"Validation {metric_name(metric)}", "step", "")
        for colour, (_, series) in zip(teacher_colours(theme, len(scores)), scores.items(), strict=True):
            axes.axhline(series.y[0], color=colour, linewidth=0.8, alpha=0.55)
        ends = _lines(axes, scores, theme, markers=True)
        limits(axes, [value for series in scores.values() for value in series.y])
        end_labels(axes, [(value, f"{name} {number(value)}", colour) for value, name, colour in ends], theme)
    if drift:
        axes = panels.pop(0)
        style_axes(axes, theme, "Drift of the weights", "step", "% of their norm")
        in_percent = {
            name: Series((x, 100 * y) for x, y in zip(curve.x, curve.y, strict=True)) for name, curve in drift.items()
        }
        ends = _lines(axes, in_percent, theme, markers=True)
        limits(axes, [0.0, *(value for curve in in_percent.values() for value in curve.y)])
        end_labels(axes, [(value, f"{name} {percent(value / 100)}", colour) for value, name, colour in ends], theme)
    return figure


def quiz_losses(before: Series, after: Series, gain: Series, theme: Theme = LIGHT) -> Figure:
    """Left the quiz loss before and after each step, right the one less the other around zero.

    Two panels: the difference is a small part of the loss, and the same quiz batch has both of its ends.
    """
    figure, panels = _panels(1 + bool(gain), 3.4, theme)
    left = panels[0]
    style_axes(left, theme, "Quiz loss", "step", "loss")
    ends, smooth = [], []
    for name, series, colour in (
        ("before the step", before, theme.muted),
        ("after the step", after, theme.student),
    ):
        if series:
            values = _thin(left, series, colour)
            ends.append((values[-1], name, colour))
            smooth += values
    limits(left, smooth)
    end_labels(left, ends, theme)
    if gain:
        right = panels[1]
        style_axes(right, theme, "Lowered by the step", "step", "before less after")
        values = _thin(right, gain, theme.student)
        _zero(right, theme)
        limits(right, [0.0, *values])
        end_labels(right, [(values[-1], f"{values[-1]:+.2g}", theme.student)], theme)
    return figure


def cosines(quiz: Mapping[str, Series], last: Mapping[str, Series], theme: Theme = LIGHT) -> Figure:
    """Cosines of a teacher's gradients: of two independent quiz batches, and of one measurement and the one before."""
    titled = (("Two quiz batches of one round", quiz), ("A round and the one measured before", last))
    drawn = [(title, series) for title, series in titled if series]
    figure, panels = _panels(len(drawn), 3.4, theme)
    for axes, (title, series) in zip(panels, drawn, strict=True):
        style_axes(axes, theme, title, "step", "cosine")
        ends = _lines(axes, series, theme, markers=False)
        _zero(axes, theme)
        both = [value for _, curves in drawn for curve in curves.values() for value in smoothed(curve)]
        limits(axes, [0.0, *both])  # one scale, so that the panels compare
        end_labels(axes, [(value, name, colour) for value, name, colour in ends], theme)
    return figure


def _panels(number_of: int, height: float, theme: Theme) -> tuple[Figure, list[Axes]]:
    figure = new_figure(9.2, height, theme)
    return figure, list(figure.subplots(1, number_of, squeeze=False)[0])


def _lines(axes: Axes, series: Mapping[str, Series], theme: Theme, markers: bool) -> list[tuple[float, str, str]]:
    """Draws each teacher's line; returns (last value, name, colour) of those that get a label."""
    ends = []
    for k, (colour, (name, curve)) in enumerate(zip(teacher_colours(theme, len(series)), series.items(), strict=True)):
        style = STYLES[k % len(STYLES)]
        if markers:
            axes.plot(curve.x, curve.y, color=colour, linewidth=1.7, linestyle=style, marker="o", markersize=3.5)
            values: Sequence[float] = curve.y
        else:
            values = _thin(axes, curve, colour, style)
        if k < MOST_LABELS:
            ends.append((values[-1], short(name), colour))
    return ends


def _thin(axes: Axes, series: Series, colour: str, style: str | tuple = "-") -> list[float]:
    """A thin running mean, where there is one over the faint values themselves; returns the mean."""
    smooth = smoothed(series)
    if len(series.x) >= 20:
        axes.plot(series.x, series.y, color=colour, linewidth=0.6, alpha=0.22)
    marker = "o" if len(series.x) < 20 else ""
    axes.plot(series.x, smooth, color=colour, linewidth=1.2, linestyle=style, marker=marker, markersize=3)
    return smooth


def _zero(axes: Axes, theme: Theme) -> None:
    axes.axhline(0.0, color=theme.ink, linewidth=0.9, alpha=0.7, zorder=1)


def teacher_colours(theme: Theme, teachers: int) -> list[str]:
    """Of teachers by their place: none of the student's or a baseline's colours; they repeat after four."""
    own = (theme.teacher, theme.others[0], theme.others[2], theme.others[1])
    return [own[k % len(own)] for k in range(teachers)]

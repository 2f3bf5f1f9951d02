"""The pictures over time and of values: plain data in, a matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raykd.display.text import interval, metric_name, number, share
from raykd.records.series import Series
from raykd.report.figures.canvas import BODY, LIGHT, LINES, Theme, end_labels, new_figure, short, style_axes

MOST_LINES = 5


def loss_curves(
    training: Mapping[str, Series],
    validation: Mapping[str, Series],
    parts: Mapping[str, Series] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Loss over steps.

    Args:
        training: model name → loss on its training batches, `student` and baselines.
        validation: model name → loss against the labels on validation.
        parts: the student's soft and hard loss and its features, drawn thin beside its total.
        theme: colours.
    """
    figure = new_figure(9.2, 3.7, theme)
    left, right = figure.subplots(1, 2)
    style_axes(left, theme, "Training batches", "step", "loss")
    style_axes(right, theme, "Validation, against the labels", "step", "loss")
    ends = []
    for name, series in (parts or {}).items():
        if series:
            smooth = smoothed(series)
            left.plot(series.x, smooth, color=theme.muted, linewidth=1, linestyle=(0, (1, 1.5)))
            ends.append((smooth[-1], name, theme.muted))
    for name, series in training.items():
        if series:
            smooth = smoothed(series)
            if len(series.x) >= 20:
                left.plot(series.x, series.y, color=theme.colour(name), linewidth=0.8, alpha=0.25)
            _line(left, name, series.x, smooth, theme, marker=len(series.x) < 2)
            ends.append((smooth[-1], short(name), theme.colour(name)))
    drawn = [*training.values(), *(parts or {}).values()]
    limits(left, [value for series in drawn for value in smoothed(series)])
    for name, series in validation.items():
        if series:
            _line(right, name, series.x, series.y, theme, marker=True)
    limits(right, [value for series in validation.values() for value in series.y])
    end_labels(left, ends, theme)
    end_labels(
        right, [(series.y[-1], short(name), theme.colour(name)) for name, series in validation.items() if series], theme
    )
    return figure


def metric_curves(
    scores: Mapping[str, Series], teachers: Mapping[str, float], metric: str, theme: Theme = LIGHT
) -> Figure:
    """The validation metric over steps, the best evaluation of each model ringed, teachers as level lines."""
    figure = new_figure(9.2, 4.1, theme)
    axes = figure.subplots()
    style_axes(axes, theme, f"Validation {metric_name(metric)}", "step", "")
    ends = []
    for value, label in _level_lines(teachers):
        axes.axhline(value, color=theme.teacher, linewidth=1.3, linestyle=(0, (7, 3)))
        ends.append((value, label, theme.teacher))
    for name, series in scores.items():
        if series:
            _line(axes, name, series.x, series.y, theme, marker=True)
            best = int(np.argmax(series.y))
            axes.plot(series.x[best], series.y[best], "o", ms=11, mfc="none", mec=theme.colour(name), mew=1.4)
            ends.append((series.y[-1], f"{short(name)} (best {number(series.y[best])})", theme.colour(name)))
    limits(axes, [value for value, _, _ in ends] + [value for series in scores.values() for value in series.y])
    end_labels(axes, ends, theme)
    return figure


def value_comparison(
    teachers: Mapping[str, float],
    baselines: Mapping[str, float],
    student: float,
    metric: str,
    rows: int = 0,
    theme: Theme = LIGHT,
) -> Figure:
    """All models on one scale, best first; the band is the gap that distillation is to close.

    With `metric` accuracy and `rows` known, a line through each dot is its 95 % interval. Dots, since a bar that does
    not begin at zero lies about size, and one that does hides what matters.
    """
    models = [(value, name, theme.teacher, "D", "teacher ") for name, value in teachers.items()]
    models += [(value, name, theme.colour(name), "s", "baseline ") for name, value in baselines.items()]
    models.append((student, "student", theme.student, "o", ""))
    models.sort(key=lambda model: model[0])
    figure = new_figure(9.2, 1.2 + 0.36 * len(models), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", metric_name(metric), "", grid="x")
    if teachers and baselines.get("alone") is not None and max(teachers.values()) > baselines["alone"]:
        axes.axvspan(baselines["alone"], max(teachers.values()), color=theme.student, alpha=0.1, linewidth=0)
    for k, (value, _, colour, marker, _) in enumerate(models):
        if metric == "accuracy" and rows:
            axes.plot(interval(value, rows), (k, k), color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="round")
        axes.plot(value, k, marker, color=colour, markersize=9 if marker == "o" else 7)
        axes.annotate(
            number(value), xy=(1.015, k), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=BODY
        )
    axes.set_yticks(range(len(models)), [kind + short(name) for _, name, _, _, kind in models], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_ylim(-0.6, len(models) - 0.4)
    axes.margins(x=0.06)
    return figure


def efficiency(
    samples_per_s: float, student_only: float | None, seconds: Mapping[str, float], theme: Theme = LIGHT
) -> Figure:
    """Speed beside that of a student that reads no teacher, and what the time went into.

    Args:
        samples_per_s: of the distilled student.
        student_only: the same for a student without a teacher; None where it is not known.
        seconds: what for → seconds, at most three, in the order in which they are drawn.
        theme: colours.
    """
    figure = new_figure(9.2, 2.7, theme)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    style_axes(left, theme, "Samples per second", grid=None)
    bars = [("student", samples_per_s, theme.student)]
    bars += [] if student_only is None else [("no teacher", student_only, theme.muted)]
    for k, (name, speed, colour) in enumerate(reversed(bars)):
        left.barh(k, speed, height=0.55, color=colour)
        left.annotate(
            f"{speed:,.0f}", xy=(speed, k), xytext=(5, 0), textcoords="offset points", va="center", color=theme.ink,
            fontsize=BODY,
        )  # fmt: skip
        left.annotate(name, xy=(0, k), xytext=(-6, 0), textcoords="offset points", va="center", ha="right",
                      color=theme.ink, fontsize=BODY)  # fmt: skip
    left.set_xlim(0, 1.22 * max(speed for _, speed, _ in bars) or 1.0)
    left.set_ylim(-0.6, len(bars) - 0.4)
    left.set_yticks([])
    left.xaxis.set_major_locator(MaxNLocator(4))
    _time_bar(right, seconds, theme)
    return figure


def _time_bar(axes: Axes, seconds: Mapping[str, float], theme: Theme) -> None:
    style_axes(axes, theme, "Where the time went", grid=None)
    total = sum(seconds.values()) or 1.0
    colours = (theme.student, theme.alone, theme.teacher)  # from the last: the first may be missing
    start = 0.0
    for (name, spent), colour in zip(seconds.items(), colours[: len(seconds)][::-1], strict=True):
        text = f"{name}: {spent:,.1f} s ({share(spent / total)})"
        axes.barh(0, spent / total, left=start, height=0.5, color=colour, label=text)
        start += spent / total
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.35, 0.35)
    axes.axis("off")
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.02), frameon=False, fontsize=BODY, labelcolor=theme.ink,
        handlelength=1, borderpad=0, labelspacing=0.4,
    )  # fmt: skip


def smoothed(series: Series) -> list[float]:
    """A running mean with a weight that falls by e over a fortieth of the points: batches are noisy."""
    keep = np.exp(-40 / len(series.x)) if len(series.x) >= 20 else 0.0
    total = weight = 0.0
    out = []
    for value in series.y:
        total, weight = keep * total + value, keep * weight + 1.0
        out.append(total / weight)
    return out


def _line(axes: Axes, name: str, x: Sequence[float], y: Sequence[float], theme: Theme, marker: bool) -> None:
    axes.plot(
        x, y, color=theme.colour(name), linewidth=2.2 if name == "student" else 1.7, linestyle=LINES.get(name, "-."),
        marker="o" if marker else "", markersize=3.5, zorder=3 if name == "student" else 2,
    )  # fmt: skip


def limits(axes: Axes, values: list[float]) -> None:
    """Room for what is drawn, labels included; a single value gets some too."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_ylim(low - room, high + room)
    last = max((float(x) for line in axes.lines for x in np.atleast_1d(line.get_xdata())), default=1.0)
    axes.set_xlim(0, max(last, 1.0) * 1.01)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _level_lines(teachers: Mapping[str, float]) -> list[tuple[float, str]]:
    """All teachers, or of many the best and the weakest."""
    ordered = sorted(teachers.items(), key=lambda item: item[1])
    if len(ordered) > MOST_LINES:
        ordered = [(f"weakest of {len(ordered)}", ordered[0][1]), (f"best: {short(ordered[-1][0])}", ordered[-1][1])]
        return [(value, f"{name} {number(value)}") for name, value in ordered]
    return [(value, f"{short(name)} {number(value)}") for name, value in ordered]

"""The pictures of a study: plain data in, a matplotlib Figure out."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raykd.display.text import count, metric_name, number, share
from raykd.records.study_result import ConfigurationResult
from raykd.records.study_state import TrialState
from raykd.report.figures.canvas import BODY, LIGHT, SMALL, Theme, end_labels, new_figure, short, style_axes

MOST_AXES = 7
MISSING = 0.2
"""Where an axis begins whose key some trials do not have; they cross it at 0."""
LOGARITHMIC = 20.0
"""Values that span such a factor are drawn on a logarithmic axis."""


def history(trials: Sequence[TrialState], failed: Sequence[TrialState], metric: str, theme: Theme = LIGHT) -> Figure:
    """The value of each trial, in the order in which they began, and the best so far."""
    figure = new_figure(9.2, 3.6, theme)
    axes = figure.subplots()
    style_axes(axes, theme, f"Validation {metric_name(metric)}", "trial", "")
    done = sorted((trial for trial in trials if trial.state != "stopped"), key=lambda trial: trial.number)
    stopped = [trial for trial in trials if trial.state == "stopped"]

    def dots(shown: Sequence[TrialState], **style: Any) -> None:
        axes.plot([trial.number for trial in shown], [trial.value or 0.0 for trial in shown], "o", ms=6, **style)

    dots(done, color=theme.student)
    dots(stopped, mfc="none", mec=theme.muted)
    low = min((trial.value or 0.0 for trial in trials), default=0.0)
    axes.plot([trial.number for trial in failed], [low] * len(failed), "x", color=theme.alone, ms=7, mew=1.8)
    if done:
        best = np.maximum.accumulate([trial.value or 0.0 for trial in done])
        axes.step([trial.number for trial in done], best, where="post", color=theme.student, linewidth=1.4, alpha=0.7)
        end_labels(axes, [(float(best[-1]), f"best {number(float(best[-1]))}", theme.student)], theme)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return figure


def trial_curves(trials: Sequence[TrialState], best: str, metric: str, theme: Theme = LIGHT) -> Figure:
    """The best value so far of each trial over its steps; those that were stopped end early."""
    figure = new_figure(9.2, 3.8, theme)
    axes = figure.subplots()
    style_axes(axes, theme, f"Best validation {metric_name(metric)} so far", "step", "")
    ends = []
    for trial in trials:
        x, y = zip(*trial.values, strict=True)
        is_best = trial.name == best
        colour = theme.student if is_best else theme.muted
        axes.plot(x, y, color=colour, linewidth=2.4 if is_best else 1.0, alpha=1.0 if is_best else 0.6,
                  linestyle="-" if trial.state != "stopped" else (0, (4, 2)), zorder=3 if is_best else 2,
                  marker="o", markersize=3)  # fmt: skip
        if is_best:
            ends.append((y[-1], f"{trial.name} {number(y[-1])}", colour))
    end_labels(axes, ends, theme)
    return figure


def parallel(trials: Sequence[TrialState], keys: Sequence[str], metric: str, theme: Theme = LIGHT) -> Figure:
    """A line for each trial through its values; the last axis is the metric, which is the colour too."""
    shown = list(keys)[:MOST_AXES]
    figure = new_figure(9.2, 4.0, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", grid=None)
    axes.spines[["left", "bottom"]].set_visible(False)
    columns = [_scaled([trial.params.get(key) for trial in trials]) for key in shown]
    columns.append(_scaled([trial.value for trial in trials]))
    heights = np.stack([places for places, _ in columns], axis=1)
    palette = LinearSegmentedColormap.from_list("value", [theme.grid, theme.alone, theme.student])
    order = np.argsort(heights[:, -1])
    lines = [np.column_stack([np.arange(len(columns)), heights[k]]) for k in order]
    drawn = LineCollection(lines, colors=palette(heights[order, -1]), linewidths=1.6, alpha=0.85)
    axes.add_collection(drawn)
    for k, (_, ticks) in enumerate(columns):
        axes.axvline(k, color=theme.muted, linewidth=0.8)
        for place, text in ticks:
            axes.annotate(text, xy=(k, place), xytext=(4, 0), textcoords="offset points", fontsize=SMALL,
                          color=theme.ink, va="center", parse_math=False)  # fmt: skip
    names = [*(short(key.split(".", 1)[-1]) for key in shown), metric_name(metric)]
    axes.set_xticks(range(len(columns)), names, parse_math=False)
    axes.tick_params(axis="x", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.6)
    axes.set_ylim(-0.06, 1.06)
    return figure


def importances(weights: Mapping[str, float], theme: Theme = LIGHT) -> Figure:
    """The share of each key in the importance of all."""
    figure = new_figure(9.2, 0.9 + 0.36 * len(weights), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", grid=None)
    axes.spines["bottom"].set_visible(False)
    ordered = list(weights.items())[::-1]
    for k, (_, weight) in enumerate(ordered):
        axes.barh(k, weight, height=0.55, color=theme.student)
        axes.annotate(share(weight), xy=(weight, k), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=BODY, color=theme.ink)  # fmt: skip
    axes.set_yticks(range(len(ordered)), [key for key, _ in ordered], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_xticks([])
    axes.set_xlim(0, 1.12 * max(weights.values()))
    return figure


def costs(
    trials: Sequence[TrialState], front: Mapping[str, Sequence[str]], metric: str, theme: Theme = LIGHT
) -> Figure:
    """The metric against parameters and latency; the line joins the trials that none beats in both."""
    figure = new_figure(9.2, 3.8, theme)
    panels = figure.subplots(1, 2, sharey=True)
    name = metric_name(metric)
    titles = (("parameters", "parameters"), ("latency_ms", "milliseconds a row, on the CPU"))
    for axes, (cost, title) in zip(panels, titles, strict=True):
        known = [trial for trial in trials if getattr(trial, cost) is not None]
        style_axes(
            axes, theme, f"{name[0].upper()}{name[1:]} against {'size' if cost == 'parameters' else 'latency'}", title
        )
        best = [trial for trial in known if trial.name in front.get(cost, ())]
        best.sort(key=lambda trial: getattr(trial, cost))
        for shown, form, colour, width in ((known, "o", theme.muted, 5), (best, "o-", theme.student, 7)):
            values = [trial.value for trial in shown]
            axes.plot([getattr(trial, cost) for trial in shown], values, form, color=colour, ms=width)
        if cost == "parameters":
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: count(value))
    return figure


def seeds(groups: Sequence[ConfigurationResult], metric: str, theme: Theme = LIGHT) -> Figure:
    """Each repeated configuration: its seeds as dots, mean and deviation as a line."""
    figure = new_figure(9.2, 1.3 + 0.45 * len(groups), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", metric_name(metric), grid="x")
    ordered = sorted(groups, key=lambda group: group.mean)
    for k, group in enumerate(ordered):
        colour = theme.student if k == len(ordered) - 1 else theme.muted
        deviation = group.deviation or 0.0
        axes.plot((group.mean - deviation, group.mean + deviation), (k, k), color=colour, linewidth=2, alpha=0.6)
        axes.plot(group.values, [k] * len(group.values), "o", mfc="none", mec=colour, ms=6)
        axes.plot(group.mean, k, "D", color=colour, ms=7)
        axes.annotate(f"{number(group.mean)} ± {number(deviation)}", xy=(1.015, k), xycoords=("axes fraction", "data"),
                      va="center", color=colour, fontsize=BODY)  # fmt: skip
    axes.set_yticks(range(len(ordered)), [group.trial for group in ordered], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    return figure


def _scaled(values: Sequence[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Places from 0 to 1 and the ticks of an axis; no numbers are spread evenly, missing ones at the foot."""
    present = [value for value in values if value is not None]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present) or not present:
        names = sorted({_name(value) for value in values})
        place = {name: (k + 0.5) / len(names) for k, name in enumerate(names)}
        return np.array([place[_name(value)] for value in values]), [
            (height, short(name)) for name, height in place.items()
        ]
    low, high = min(present), max(present)
    logarithmic = low > 0 and high / low > LOGARITHMIC
    numbers = np.array([low if value is None else value for value in values], float)
    scaled = np.log(numbers) if logarithmic else numbers
    middle = float(np.exp((np.log(low) + np.log(high)) / 2)) if logarithmic else statistics.fmean((low, high))
    foot = 0.0 if len(present) == len(values) else MISSING
    places = foot + (1 - foot) * (scaled - scaled.min()) / (np.ptp(scaled) or 1.0)
    places[[value is None for value in values]] = 0.0
    ticks = [(foot, f"{low:.3g}")]
    ticks += [(foot + (1 - foot) / 2, f"{middle:.3g}"), (1.0, f"{high:.3g}")] if high > low else []
    return places, ticks if foot == 0 else [(0.0, "-"), *ticks]


def _name(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)

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

from raykd.display.text import METRICS, count, number, share
from raykd.records.study_state import TrialState
from raykd.report.figures.canvas import BODY, LIGHT, SMALL, Theme, end_labels, new_figure, short, style_axes

MOST_AXES = 7
MISSING = 0.2
"""Where an axis begins whose key some trials do not have; they cross it at 0."""
LOGARITHMIC = 20.0
"""Values that span such a factor are drawn on a logarithmic axis."""


def history(trials: Sequence[TrialState], failed: Sequence[TrialState], metric: str, theme: Theme = LIGHT) -> Figure:
    """What each trial reached, in the order in which they began, and the best so far."""
    figure = new_figure(9.2, 3.6, theme)
    axes = figure.subplots()
    style_axes(axes, theme, f"Validation {METRICS.get(metric, metric)}", "trial", "")
    done = [one for one in trials if one.state != "stopped"]
    stopped = [one for one in trials if one.state == "stopped"]
    axes.plot([one.number for one in done], [one.value or 0.0 for one in done], "o", color=theme.student, ms=6)
    axes.plot(
        [one.number for one in stopped], [one.value or 0.0 for one in stopped], "o", mfc="none", mec=theme.muted, ms=6
    )
    values = [one.value or 0.0 for one in trials]
    low = min(values, default=0.0)
    axes.plot([one.number for one in failed], [low] * len(failed), "x", color=theme.alone, ms=7, mew=1.8)
    ordered = sorted(done, key=lambda one: one.number)
    if ordered:
        best = np.maximum.accumulate([one.value or 0.0 for one in ordered])
        axes.step([one.number for one in ordered], best, where="post", color=theme.student, linewidth=1.4, alpha=0.7)
        end_labels(axes, [(float(best[-1]), f"best {number(float(best[-1]))}", theme.student)], theme)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return figure


def courses(trials: Sequence[TrialState], best: str, metric: str, theme: Theme = LIGHT) -> Figure:
    """The best value so far of each trial over its steps; those that were stopped end early."""
    figure = new_figure(9.2, 3.8, theme)
    axes = figure.subplots()
    style_axes(axes, theme, f"Best validation {METRICS.get(metric, metric)} so far", "step", "")
    ends = []
    for one in trials:
        x, y = zip(*one.values, strict=True)
        chosen = one.name == best
        colour = theme.student if chosen else theme.muted
        axes.plot(x, y, color=colour, linewidth=2.4 if chosen else 1.0, alpha=1.0 if chosen else 0.6,
                  linestyle="-" if one.state != "stopped" else (0, (4, 2)), zorder=3 if chosen else 2,
                  marker="o", markersize=3)  # fmt: skip
        if chosen:
            ends.append((y[-1], f"{one.name} {number(y[-1])}", colour))
    end_labels(axes, ends, theme)
    return figure


def parallel(
    trials: Sequence[TrialState], keys: Sequence[str], metric: str, theme: Theme = LIGHT
) -> Figure:  # fmt: skip
    """A line for each trial through its values; the last axis is the metric, which is the colour too."""
    shown = list(keys)[:MOST_AXES]
    figure = new_figure(9.2, 4.0, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", grid=None)
    axes.spines[["left", "bottom"]].set_visible(False)
    columns = [_scaled([one.params.get(key) for one in trials]) for key in shown]
    columns.append(_scaled([one.value for one in trials]))
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
    names = [*(short(key.split(".", 1)[-1]) for key in shown), METRICS.get(metric, metric)]
    axes.set_xticks(range(len(columns)), names, parse_math=False)
    axes.tick_params(axis="x", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.6)
    axes.set_ylim(-0.06, 1.06)
    return figure


def importances(weights: Mapping[str, float], theme: Theme = LIGHT) -> Figure:
    """Each key's share of what explains the metric."""
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
    name = METRICS.get(metric, metric)
    titles = (("parameters", "parameters"), ("latency_ms", "milliseconds a row, on the CPU"))
    for axes, (cost, title) in zip(panels, titles, strict=True):
        known = [one for one in trials if getattr(one, cost) is not None]
        style_axes(
            axes, theme, f"{name[0].upper()}{name[1:]} against {'size' if cost == 'parameters' else 'latency'}", title
        )
        axes.plot([getattr(one, cost) for one in known], [one.value for one in known], "o", color=theme.muted, ms=5)
        best = [one for one in known if one.name in front.get(cost, ())]
        best.sort(key=lambda one: getattr(one, cost))
        axes.plot([getattr(one, cost) for one in best], [one.value for one in best], "o-", color=theme.student, ms=7)
        if cost == "parameters":
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: count(value))
    return figure


def spread(groups: Sequence[Mapping[str, Any]], metric: str, theme: Theme = LIGHT) -> Figure:
    """Each repeated configuration: its seeds as dots, mean and deviation as a line."""
    figure = new_figure(9.2, 1.3 + 0.45 * len(groups), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", METRICS.get(metric, metric), grid="x")
    ordered = sorted(groups, key=lambda group: group["mean"])
    for k, group in enumerate(ordered):
        chosen = k == len(ordered) - 1
        colour = theme.student if chosen else theme.muted
        wide = group.get("deviation") or 0.0
        axes.plot((group["mean"] - wide, group["mean"] + wide), (k, k), color=colour, linewidth=2, alpha=0.6)
        axes.plot(group["values"], [k] * len(group["values"]), "o", mfc="none", mec=colour, ms=6)
        axes.plot(group["mean"], k, "D", color=colour, ms=7)
        axes.annotate(f"{number(group['mean'])} ± {number(wide)}", xy=(1.015, k), xycoords=("axes fraction", "data"),
                      va="center", color=colour, fontsize=BODY)  # fmt: skip
    axes.set_yticks(range(len(ordered)), [group["trial"] for group in ordered], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=theme.ink)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    return figure


def _scaled(values: Sequence[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Places from 0 to 1 and the ticks of an axis; what is no number stands in a row, what is missing at the foot."""
    given = [value for value in values if value is not None]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given) or not given:
        names = sorted({_name(value) for value in values})
        place = {name: (k + 0.5) / len(names) for k, name in enumerate(names)}
        return np.array([place[_name(value)] for value in values]), [(at, short(name)) for name, at in place.items()]
    low, high = min(given), max(given)
    logarithmic = low > 0 and high / low > LOGARITHMIC
    numbers = np.array([low if value is None else value for value in values], float)
    scaled = np.log(numbers) if logarithmic else numbers
    middle = float(np.exp((np.log(low) + np.log(high)) / 2)) if logarithmic else statistics.fmean((low, high))
    foot = 0.0 if len(given) == len(values) else MISSING
    places = foot + (1 - foot) * (scaled - scaled.min()) / (np.ptp(scaled) or 1.0)
    places[[value is None for value in values]] = 0.0
    ticks = [(foot, f"{low:.3g}")]
    ticks += [(foot + (1 - foot) / 2, f"{middle:.3g}"), (1.0, f"{high:.3g}")] if high > low else []
    return places, ticks if foot == 0 else [(0.0, "-"), *ticks]


def _name(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)

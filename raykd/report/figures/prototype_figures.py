"""The pictures of a meta-teacher's domains: prototype scores, and which domain's prototype rows are nearest to."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from raykd.records.prototype_result import PrototypeResult
from raykd.report.figures.canvas import LIGHT, SMALL, Theme, new_figure, short, style_axes

ROW = 0.36


def prototype_scores(domains: PrototypeResult, theme: Theme = LIGHT) -> Figure:
    """A line for each domain: thin from the 5 % to the 95 % quantile, thick between the quartiles, a dot the median."""
    names = list(domains.scores)
    figure = new_figure(9.2, 1.1 + ROW * len(names), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", "prototype score t", "", grid="x")
    for place, name in enumerate(reversed(names)):
        low, quarter, middle, three, high = domains.scores[name]
        axes.plot([low, high], [place, place], color=theme.teacher, linewidth=1.2)
        axes.plot([quarter, three], [place, place], color=theme.teacher, linewidth=5.0, solid_capstyle="butt")
        axes.plot([middle], [place], "o", color=theme.ground, markeredgecolor=theme.teacher, markersize=6)
    axes.set_yticks(range(len(names)), [short(name) for name in reversed(names)], parse_math=False)
    axes.set_ylim(-0.6, len(names) - 0.4)
    return figure


def domain_overlap(domains: PrototypeResult, theme: Theme = LIGHT) -> Figure:
    """Rows are domains, columns the domain whose prototype is nearest; in per cent of the domain's rows."""
    names = list(domains.nearest)
    figure = new_figure(min(9.2, 2.6 + 0.75 * len(names)), 1.6 + ROW * len(names), theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", "nearest prototype", "", grid=None)
    values = np.array([[domains.nearest[name][other] for other in names] for name in names])
    colour, ground = (
        np.array([int(tone[k : k + 2], 16) / 255 for k in (1, 3, 5)]) for tone in (theme.teacher, theme.ground)
    )
    axes.imshow(ground + (colour - ground) * (0.08 + 0.92 * values)[..., None], aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ink = theme.ground if value > 0.5 else theme.ink
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALL, color=ink)
    axes.set_xticks(range(len(names)), [short(name, 12) for name in names], parse_math=False)
    axes.set_yticks(range(len(names)), [short(name) for name in names], parse_math=False)
    axes.tick_params(axis="x", rotation=90 if len(names) > 6 else 0)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure

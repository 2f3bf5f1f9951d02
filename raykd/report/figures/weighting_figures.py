"""The pictures of the weighting: teachers' shares over time, the policy's entropy and reward, weights by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from raykd.records.run_result import WeightGroup
from raykd.records.series import Series
from raykd.report.figures.canvas import LIGHT, SMALL, Theme, end_labels, new_figure, short, style_axes
from raykd.report.figures.feedback_figures import MOST_LABELS, STYLES, teacher_colours
from raykd.report.figures.training_figures import limits, smoothed

CELL = 0.34


def shares_over_steps(shares: Mapping[str, Series], theme: Theme = LIGHT) -> Figure:
    """How likely each teacher was to be chosen on the rows of each update, 0 to 1."""
    figure = new_figure(9.2, 3.4, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", "step", "mean over the rows of an update")
    ends = []
    for k, (colour, (name, series)) in enumerate(zip(teacher_colours(theme, len(shares)), shares.items(), strict=True)):
        smooth = smoothed(series)
        if len(series.x) >= 20:
            axes.plot(series.x, series.y, color=colour, linewidth=0.6, alpha=0.25)
        axes.plot(series.x, smooth, color=colour, linewidth=1.7, linestyle=STYLES[k % len(STYLES)],
                  marker="" if len(series.x) > 1 else "o")  # fmt: skip
        if k < MOST_LABELS:
            ends.append((smooth[-1], short(name), colour))
    limits(axes, [0.0, 1.0])
    axes.set_ylim(-0.02, 1.02)
    end_labels(axes, ends, theme)
    return figure


def policy_curves(entropy: Series, uniform: float | None, rewards: Series, theme: Theme = LIGHT) -> Figure:
    """Left the policy's entropy under that of a uniform one, right the reward."""
    figure = new_figure(9.2, 3.2, theme)
    left, right = figure.subplots(1, 2)
    style_axes(left, theme, "The policy's entropy", "step", "nats a row")
    left.plot(entropy.x, entropy.y, color=theme.student, linewidth=1.5, marker="o" if len(entropy.x) < 2 else "")
    ends = [(entropy.y[-1], f"{entropy.y[-1]:.2f}", theme.student)]
    top = [*entropy.y, 0.0]
    if uniform is not None:
        left.axhline(uniform, color=theme.muted, linewidth=1.1, linestyle=(0, (7, 3)))
        ends.append((uniform, f"uniform {uniform:.2f}", theme.muted))
        top.append(uniform)
    limits(left, top)
    end_labels(left, ends, theme)
    style_axes(right, theme, "Reward", "step", "mean of the rows")
    smooth = smoothed(rewards)
    if len(rewards.x) >= 20:
        right.plot(rewards.x, rewards.y, color=theme.student, linewidth=0.6, alpha=0.25)
    right.plot(rewards.x, smooth, color=theme.student, linewidth=1.5, marker="o" if len(rewards.x) < 2 else "")
    limits(right, smooth)
    end_labels(right, [(smooth[-1], f"{smooth[-1]:.3g}", theme.student)], theme)
    return figure


def weights_by_group(
    groups: Mapping[str, Sequence[WeightGroup]],
    teachers: Sequence[str],
    theme: Theme = LIGHT,
) -> Figure:
    """A panel for each way of grouping; a row for each group, a column for each teacher, darker is more."""
    tallest = max(len(members) for members in groups.values())
    figure = new_figure(9.2, 1.5 + CELL * tallest, theme)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (key, members) in zip(panels, groups.items(), strict=True):
        style_axes(axes, theme, f"By {key}", grid=None)
        values = np.array([[group.weight[name] for name in teachers] for group in members])
        colour = np.array([int(theme.student[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        ground = np.array([int(theme.ground[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        strength = (0.12 + 0.88 * values)[..., None]
        axes.imshow(ground + (colour - ground) * strength, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            ink = theme.ground if value > 0.5 else theme.ink
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALL, color=ink)
        axes.set_yticks(range(len(members)), [short(group.group, 14) for group in members], parse_math=False)
        axes.set_xticks(range(len(teachers)), [short(name, 12) for name in teachers], parse_math=False)
        axes.tick_params(axis="x", rotation=90 if len(teachers) > 3 or len(groups) > 2 else 0)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure

"""The pictures of the student's predictions: a confusion matrix of classes, predicted against true values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from raykd.report.figures.canvas import BODY, LIGHT, SMALL, Theme, new_figure, short, style_axes

MOST_CELLS_WITH_TEXT = 12
MOST_NAMES = 40
MOST_POINTS = 4000


def confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Rows are true classes, columns predictions; a cell's colour is its share of its row.

    Args:
        counts: [C, C].
        labels: the C class names; another number of them is replaced by class numbers.
        theme: colours.
    """
    counts_CC = np.asarray(counts, dtype=np.int64)
    classes = len(counts_CC)
    names = [short(name, 24) for name in labels] if len(labels) == classes else [str(k) for k in range(classes)]
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.72 * classes + 2.4, 4.0, 9.2))
    figure = new_figure(side + 0.4, side - 0.4, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", "predicted class", "true class", grid=None)
    ramp = LinearSegmentedColormap.from_list("share", [theme.ground, theme.student])
    axes.imshow(share_CC, cmap=ramp, vmin=0, vmax=1)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.8 if classes <= MOST_NAMES else 0)
    axes.tick_params(which="minor", length=0)
    shown = np.arange(classes) if classes <= MOST_NAMES else np.linspace(0, classes - 1, 10).astype(int)
    size = BODY if len(shown) <= 12 else 7.5 if len(shown) <= 25 else 6.0
    turned = classes > 6 or max(map(len, names)) > 9
    along: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    texts = [names[k] for k in shown] if classes <= MOST_NAMES else [str(k) for k in shown]
    axes.set_xticks(shown, texts, fontsize=size, color=theme.ink, parse_math=False, **along)
    axes.set_yticks(shown, texts, fontsize=size, color=theme.ink, parse_math=False)
    if classes <= MOST_CELLS_WITH_TEXT:
        for row in range(classes):
            for column in range(classes):
                text = f"{counts_CC[row, column]:,}\n{100 * share_CC[row, column]:.0f} %"
                axes.text(
                    column, row, text, ha="center", va="center", fontsize=SMALL if classes > 6 else BODY,
                    color=readable_on(ramp(share_CC[row, column]), theme),
                )  # fmt: skip
    return figure


def readable_on(ground: Sequence[float], theme: Theme) -> str:
    """The theme's ink or ground, whichever contrasts more (WCAG) with a colour in RGB from 0 to 1."""

    def luminance(rgb: Sequence[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    def contrast(colour: str) -> float:
        low, high = sorted((luminance(ground), luminance(to_rgb(colour))))
        return (high + 0.05) / (low + 0.05)

    return max((theme.ink, theme.ground), key=contrast)


def predicted_true(true: np.ndarray, predicted: np.ndarray, theme: Theme = LIGHT) -> Figure:
    """Each row as a dot: its true value across, the predicted one up; the line is where both agree."""
    if len(true) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(true), MOST_POINTS, replace=False)
        true, predicted = true[chosen], predicted[chosen]
    figure = new_figure(5.4, 4.8, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "", "true value", "predicted value")
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    low, high = (float(end) for end in (min(true.min(), predicted.min()), max(true.max(), predicted.max())))
    room = 0.04 * (high - low) or 0.5
    axes.plot((low - room, high + room), (low - room, high + room), color=theme.alone, linewidth=1.3, dashes=(5, 3))
    alpha = float(np.clip(150 / len(true), 0.15, 0.8))
    axes.plot(true, predicted, "o", color=theme.student, markersize=4.5, alpha=alpha, markeredgewidth=0)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal")
    return figure

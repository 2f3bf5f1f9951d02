"""What all pictures share: two themes, colours that colour-blind readers tell apart, labels that keep apart.

Object-oriented matplotlib on Agg: no pyplot, no global settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SMALL, BODY, TITLE = 8.5, 9.5, 11.0
LONGEST = 22
DPI = 144


@dataclass(frozen=True)
class Theme:
    """Colours of a picture; the hues are Okabe and Ito's, made lighter on a dark ground."""

    name: str
    ground: str
    ink: str
    muted: str
    grid: str
    student: str
    teacher: str
    alone: str
    in_loop: str
    others: tuple[str, ...]

    def colour(self, model: str) -> str:
        """Of the student or a baseline by name."""
        known = {"student": self.student, "alone": self.alone, "in_loop": self.in_loop}
        return known.get(model) or self.others[sum(model.encode()) % len(self.others)]


LIGHT = Theme(
    "light", "#ffffff", "#1c2330", "#5d6675", "#e6e9ee", "#0072b2", "#b0568c", "#d55e00", "#00875f",
    ("#c98a00", "#3d9ad1", "#6b6b6b"),
)  # fmt: skip
DARK = Theme(
    "dark", "#171c26", "#e8ebf1", "#a3acbb", "#2c3442", "#56b4e9", "#e79ac6", "#ff8f4d", "#33c79b",
    ("#f0c040", "#9ad0f0", "#b5b5b5"),
)  # fmt: skip

LINES = {"student": "-", "alone": (0, (5, 2)), "in_loop": (0, (1, 1.3))}


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """A figure in inches whose parts make room for one another."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.ground, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    return figure


def style_axes(axes: Axes, theme: Theme, title: str = "", x: str = "", y: str = "", grid: str | None = "y") -> None:
    """Gives axes the theme's colours, a title on the left and thin lines."""
    axes.set_facecolor(theme.ground)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.tick_params(colors=theme.muted, labelsize=SMALL, length=3, color=theme.grid)
    if grid in ("x", "y"):
        axes.grid(axis="x" if grid == "x" else "y", color=theme.grid, linewidth=0.8)
        axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=TITLE, color=theme.ink, fontweight="bold", pad=10, parse_math=False)
    axes.set_xlabel(x, fontsize=BODY, color=theme.muted)
    axes.set_ylabel(y, fontsize=BODY, color=theme.muted)


def end_labels(axes: Axes, items: Sequence[tuple[float, str, str]], theme: Theme) -> None:
    """Names lines at the right edge: (value, text, colour). Labels that would touch are moved apart.

    Call it last: it takes the axes' limits and size as they are then.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height * 72 / figure.dpi
    ordered = sorted(items)
    places = keep_apart([(value - low) / (high - low) for value, _, _ in ordered], SMALL * 1.4 / height)
    for (value, text, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            text,
            xy=(1.0, (value - low) / (high - low)),
            xytext=(1.035, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=SMALL,
            va="center",
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def keep_apart(places: Sequence[float], gap: float) -> list[float]:
    """Moves rising places as little as needed to be at least `gap` apart, and within 0 to 1 while that has room."""
    groups: list[list[float]] = []  # [sum of wished starts, members]: a group's members stand gap apart
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1 and _start(groups[-2]) + groups[-2][1] * gap > _start(groups[-1]):
            wished, members = groups.pop()
            groups[-1][0] += wished - members * groups[-1][1] * gap
            groups[-1][1] += members
    moved = [_start(group) + k * gap for group in groups for k in range(int(group[1]))]
    for k in range(len(moved)):
        moved[k] = max(moved[k], k * gap)
    for k in range(len(moved)):
        moved[-1 - k] = min(moved[-1 - k], 1.0 - k * gap)
    return moved


def _start(group: list[float]) -> float:
    return group[0] / group[1]


def short(name: str, longest: int = LONGEST) -> str:
    """A name in one line, cut in its middle when it is too long to be drawn: both ends tell names apart."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    head = (longest - 1) * 2 // 3
    return f"{name[:head]}…{name[head + 1 - longest :]}"

"""A picture of a page: its title, the sentence on how to read it, and how it is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from raykd.report.figures.canvas import DARK, DPI, LIGHT, Theme

CSS_DPI = 96
Part = Literal["main", "weighting", "feedback", "prototypes"]


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn in a theme.

    Attributes:
        name: of its file.
        part: the section of the page that shows it.
        wide: whether it takes the page's whole width.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]
    part: Part = "main"
    wide: bool = True

    def png(self, theme: Theme = LIGHT) -> bytes:
        """The figure as the bytes of a PNG file."""
        out = io.BytesIO()
        self.draw(theme=theme).savefig(out, format="png")
        return out.getvalue()


@dataclass(frozen=True)
class DrawnPicture:
    """A picture as a page embeds it: PNGs for a light and a dark ground."""

    title: str
    caption: str
    part: Part
    wide: bool
    light: bytes
    dark: bytes

    @property
    def width(self) -> int:
        """In CSS pixels, from the width in the PNG's header."""
        return round(int.from_bytes(self.light[16:20], "big") * CSS_DPI / DPI)


def draw(pictures: Sequence[Picture], folder: Path) -> list[DrawnPicture]:
    """Draws pictures in both themes, and writes the light ones to `folder` as NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for picture in pictures:
        light = picture.png(LIGHT)
        (folder / f"{picture.name}.png").write_bytes(light)
        drawn.append(DrawnPicture(picture.title, picture.caption, picture.part, picture.wide, light, picture.png(DARK)))
    return drawn

"""HTML from plain values: whatever is not `Html` already is escaped, so nothing a run holds can become markup."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from raykd.report.figures.canvas import DPI

CSS_DPI = 96
VOID = {"img", "source", "meta"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


NOTHING = Html("")


def tag(name: str, /, *children: str, **attributes: str) -> Html:
    """`tag("p", "a < b", class_="note")`; a trailing underscore keeps clear of Python's words."""
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{join(children)}</{name}>")


def prose(text: str) -> Html:
    """A sentence in which `backticks` mark code."""
    parts = text.split("`")
    return join(tag("code", part) if k % 2 else part for k, part in enumerate(parts))


def join(children: Iterable[str]) -> Html:
    """Markup as it is, text escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], numeric: Sequence[int] = ()) -> Html:
    """A table that scrolls sideways on a narrow screen.

    Args:
        head: the columns' titles; all empty for none.
        rows: (class of the row, its cells); the first cell names the row.
        numeric: columns whose cells are numbers.
    """

    def cell(kind: str, column: int, value: str) -> Html:
        return tag(kind, value, class_="number") if column in numeric else tag(kind, value)

    body = [
        tag("tr", *(cell("th" if k == 0 else "td", k, value) for k, value in enumerate(cells)), class_=kind)
        for kind, cells in rows
    ]
    titles = tag("tr", *(cell("th", k, title) for k, title in enumerate(head)))
    top = [tag("thead", titles)] if any(head) else []
    return tag("div", tag("table", *top, tag("tbody", *body)), class_="scroll")


def picture(light: bytes, dark: bytes, alt: str) -> Html:
    """An inline PNG for a light ground and one for a dark ground."""
    return tag(
        "picture",
        tag("source", media="(prefers-color-scheme: dark)", srcset=_data(dark)),
        tag("img", src=_data(light), alt=alt, width=str(round(_width(light) * CSS_DPI / DPI))),
    )


def _width(png: bytes) -> int:
    """In pixels, as the PNG's header has it."""
    return int.from_bytes(png[16:20], "big")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()

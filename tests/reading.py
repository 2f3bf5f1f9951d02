"""Reads pages and pictures as a person would: their text, and whether it can be read."""

import base64
import itertools
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from raykd.records.series import Series
from raykd.report.page import run_page
from raykd.report.run_files import Run
from raykd.report.templating import page_source

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"img", "source", "meta"}
LONG = "an exceedingly long-winded name of something or other"


def series(end: float, points: int = 30) -> Series:
    return Series.of((10 * k, end + 0.5 / k) for k in range(1, points + 1))


class Reader(HTMLParser):
    """Collects text and images, and fails on a tag that is not closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(name)
        self.sources += [value or "" for key, value in attributes if key in ("src", "srcset", "href")]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(source: str) -> tuple[str, Reader]:
    """A page's text in one line, and what was seen in it; asserts that it needs nothing from outside."""
    reader = Reader()
    reader.feed(source)
    reader.close()
    assert reader.open == []
    assert not reader.tags & {"script", "link", "iframe", "object"}
    assert "url(" not in source
    assert "@import" not in source
    for source_of_image in reader.sources:
        assert source_of_image.startswith("data:image/png;base64,")
        assert base64.b64decode(source_of_image.split(",")[1], validate=True).startswith(PNG)
    return " ".join(" ".join(reader.text).split()), reader


def text_of(run: Run) -> str:
    """The text of a run's page, without the time that its pictures take."""
    return read(page_source(run_page(run, [])))[0]


def pictures(folder: Path) -> set[str]:
    paths = list((folder / "figures").iterdir())
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    return {path.stem for path in paths}


def labels(axes: Axes) -> Iterator[Text]:
    yield from axes.texts
    yield from (axes.xaxis.label, axes.yaxis.label, axes._left_title)  # type: ignore[attr-defined]
    legend = axes.get_legend()
    yield from legend.get_texts() if legend else ()
    if axes.axison:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


def assert_readable(figure: Figure) -> None:
    """No two labels touch, and none is cut by the picture's edge."""
    figure.canvas.draw()
    texts = [text for axes in figure.axes for text in labels(axes) if text.get_text() and text.get_visible()]
    assert texts
    boxes = {text: Text.get_window_extent(text) for text in texts}  # an annotation's own would take in its line
    for text, box in boxes.items():
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert inside, f"{text.get_text()!r} is cut"
    upright = [text for text in texts if text.get_rotation() in (0, 90)]
    for one, other in itertools.combinations(upright, 2):
        a, b = boxes[one], boxes[other]
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, f"{one.get_text()!r} and {other.get_text()!r} overlap"


def text_in(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))

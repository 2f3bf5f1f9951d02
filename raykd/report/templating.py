"""From view objects to one file: jinja2 escapes all that a run holds, so none of it can become markup."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from raykd.files import write_text
from raykd.report.views import ComparePage, DomainsPage, RunPage, StudyPage

Page = RunPage | StudyPage | DomainsPage | ComparePage
TEMPLATES = {
    RunPage: "run.html.j2",
    StudyPage: "study.html.j2",
    DomainsPage: "domains.html.j2",
    ComparePage: "compare.html.j2",
}


@cache
def environment() -> Environment:
    """The templates of this package, with the filter `data_uri`."""
    templates = Environment(
        loader=PackageLoader("raykd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["data_uri"] = data_uri
    return templates


def page_source(page: Page) -> str:
    """The HTML of a page."""
    return environment().get_template(TEMPLATES[type(page)]).render(page=page)


def write_page(folder: Path, page: Page, name: str = "report.html") -> Path:
    """Writes a page whole into a folder; returns its path."""
    path = folder / name
    write_text(path, page_source(page))
    return path


def data_uri(png: bytes) -> str:
    """A picture as an address that needs no network."""
    return "data:image/png;base64," + base64.b64encode(png).decode()

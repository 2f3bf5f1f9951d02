"""The page's section on a meta-teacher's domains: how typical rows are over domains, and which domains overlap."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from raykd.display.text import share
from raykd.records.prototype_result import PrototypeResult
from raykd.report.figures.picture import DrawnPicture, Picture
from raykd.report.figures.prototype_figures import domain_overlap, prototype_scores
from raykd.report.run_files import Run
from raykd.report.views import Row, Section, Table


def prototype_section(run: Run, pictures: Sequence[DrawnPicture]) -> Section | None:
    """None where no teacher of the run is a meta-teacher."""
    known = _domains(run)
    if known is None:
        return None
    name, domains = known
    rows = [
        Row([domain, f"{count:,}", f"{domains.scores[domain][2]:.3f}", share(domains.nearest[domain][domain])])
        for domain, count in domains.rows.items()
    ]
    mean = sum(domains.nearest[domain][domain] * count for domain, count in domains.rows.items())
    own = share(mean / sum(domains.rows.values()))
    sentence = (
        f"Of the rows that teacher {name} was trained on, {own} are nearest to the prototype of their own domain; the"
        " fewer, the more the domains overlap. The prototype score of a row is its cosine with the prototypes of its"
        " class: a share ρ with that of its own domain, the rest with those of the others."
    )
    titles = ["Domain", "rows", "median score", "nearest to its own prototype"]
    return Section("Domains", [sentence], Table.of(titles, rows, text=(0,)), pictures=list(pictures))


def prototype_pictures(run: Run) -> list[Picture]:
    """The prototype scores and the overlap of the domains."""
    known = _domains(run)
    if known is None:
        return []
    _, domains = known
    return [
        Picture(
            "prototype_scores",
            "Prototype scores by domain",
            "The thin line spans 90 % of a domain's rows, the thick one the middle half, the dot is the median.",
            partial(prototype_scores, domains),
            part="prototypes",
        ),
        Picture(
            "domain_overlap",
            "How the domains overlap",
            "Per cent of a domain's rows (lines) that are nearest to the prototype of each domain (columns).",
            partial(domain_overlap, domains),
            part="prototypes",
            wide=False,
        ),
    ]


def _domains(run: Run) -> tuple[str, PrototypeResult] | None:
    """The first meta-teacher's name and its domains."""
    teachers = run.result.teachers if run.result is not None else []
    return next(((teacher.name, teacher.prototypes) for teacher in teachers if teacher.prototypes is not None), None)

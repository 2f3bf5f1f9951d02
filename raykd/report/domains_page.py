"""report.html of several domains: one file with everything in it, as a run's page is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from raykd.display import domains_text
from raykd.display.durations import duration
from raykd.display.text import count, metric_name, number, plural
from raykd.records.domains_result import DomainsResult
from raykd.report.domains_files import Domains, is_domains, read_domains
from raykd.report.figures.compare_figures import difference_rows
from raykd.report.figures.domains_figures import values_by_domain
from raykd.report.figures.picture import DrawnPicture, Picture, draw
from raykd.report.templating import write_page
from raykd.report.views import Column, DomainsPage, Headline, Reproduction, Row, Section, Table, Tile

__all__ = ["domains_page", "is_domains", "render"]


def render(folder: Path) -> Path:
    """Writes report.html and figures/*.png into the folder of several domains, finished or not; returns its path.

    Raises:
        ConfigError: the folder is not that of several domains.
        RunError: its result.json is damaged or of another version.
    """
    domains = read_domains(folder)
    pictures = [] if domains.result is None else domains_pictures(domains.result)
    return write_page(domains.folder, domains_page(domains, draw(pictures, domains.folder / "figures")))


def domains_pictures(result: DomainsResult) -> list[Picture]:
    """The values by domain, then the student's differences from each baseline."""
    name = metric_name(result.metric)
    caption = f"On {result.split}, each domain's own rows. The diamond and the number at the right are the student."
    rows = [(title, values) for title, _, values in domains_text.values_of(result)]
    pictures = [
        Picture(
            "values", f"{name[0].upper()}{name[1:]} by domain", caption,
            partial(values_by_domain, rows, result.metric),
        )
    ]  # fmt: skip
    caption = (
        "The thick line is the 95 % interval of the difference alone, the thin one is adjusted for the number of "
        "differences. Right of the line at 0 the student is better than the baseline; it is settled, and coloured, "
        "only where the thin interval leaves out 0."
    )
    for baseline in result.micro.differences:
        entries = [(title, entry) for of, title, entry in domains_text.differences_of(result) if of == baseline]
        drawn = partial(difference_rows, entries, f"baseline {baseline}", result.metric)
        pictures.append(Picture(f"differences_{baseline}", f"The student less baseline {baseline}", caption, drawn))
    return pictures


def domains_page(domains: Domains, pictures: Sequence[DrawnPicture]) -> DomainsPage:
    """The view of several domains that the template shows, with its pictures: values first, then differences."""
    result = domains.result
    return DomainsPage(
        name=domains.name,
        headline=_headline(domains),
        tiles=_tiles(result) if result else [],
        warnings=result.warnings if result else [],
        values=_values(result, pictures[:1]) if result else None,
        differences=_differences(result, pictures[1:]) if result and result.micro.differences else None,
        states=None if result else _states(domains),
        teachers=_teachers(result) if result else None,
        reproduction=_reproduction(domains),
    )


def _headline(domains: Domains) -> Headline:
    if domains.result is not None:
        sentences = [domains_text.reached(domains.result), *domains_text.against(domains.result)]
        return Headline(" ".join(sentences))
    done, all_of = domains.state.count("done"), len(domains.state.all)
    return Headline(f"{done} of {all_of} domains are finished. The same command with this folder resumes the others.")


def _tiles(result: DomainsResult) -> list[Tile]:
    name, domains = metric_name(result.metric), plural(len(result.domains), "domain")
    computed = sum(teacher.rows_computed for teacher in result.teachers)
    return [
        Tile(f"student, mean {name}", number(result.macro.student), f"over {domains}, each counting alike"),
        Tile(f"student, {name} of all rows", number(result.micro.student), f"{result.rows:,} rows of {result.split}"),
        Tile("teacher rows computed", f"{computed:,}", "each once for all domains that share a teacher"),
        Tile("total time", duration(result.seconds), f"{plural(result.concurrency, 'domain')} at a time"),
    ]


def _values(result: DomainsResult, pictures: Sequence[DrawnPicture]) -> Section:
    means = (domains_text.MACRO, domains_text.MICRO)
    rows = [
        Row([title, f"{rows:,}", *map(number, values.titled.values()), _folder(result, title)], title in means)
        for title, rows, values in domains_text.values_of(result)
    ]
    titles = ["Domain", f"rows of {result.split}", *result.micro.titled, "its run"]
    note = "The run of a domain is a folder like that of raykd distill, with a page of its own."
    table = Table.of(titles, rows, text=(0, len(titles) - 1))
    return Section("Values by domain", table=table, notes=[note], pictures=list(pictures))


def _folder(result: DomainsResult, title: str) -> str:
    return f"{result.domains[title].folder}/report.html" if title in result.domains else ""


def _differences(result: DomainsResult, pictures: Sequence[DrawnPicture]) -> Section:
    rows = [
        Row([baseline, title, *domains_text.difference_cells(entry)], entry.verdict != "not settled")
        for baseline, title, entry in domains_text.differences_of(result)
    ]
    titles = ["Baseline", "domain", "difference", "95 % interval", "adjusted interval", ""]
    table = Table.of(titles, rows, text=(0, 1, 5))
    return Section("The student less each baseline", [domains_text.method(result)], table, pictures=list(pictures))


def _states(domains: Domains) -> Section:
    rows = [
        Row([domain.name, domain.state, number(domain.value), duration(domain.seconds), domain.reason])
        for domain in domains.state.all.values()
    ]
    return Section("Domains", table=Table.of(["Domain", "", "value", "time", ""], rows, text=(0, 1, 4)))


def _teachers(result: DomainsResult) -> Section:
    rows = [
        Row(
            [
                teacher.name, count(teacher.parameters), f"{teacher.rows_computed:,}", f"{teacher.rows_reused:,}",
                duration(teacher.seconds), ", ".join(teacher.domains),
            ]
        )
        for teacher in result.teachers
    ]  # fmt: skip
    titles = ["Teacher", "parameters", "rows computed", "rows stored before", "time", "domains that share it"]
    return Section("Teachers", [domains_text.sharing(result)], Table.of(titles, rows, text=(0, 5)))


def _reproduction(domains: Domains) -> Reproduction:
    result = domains.result
    pairs = {"seed": str(result.seed), **result.versions} if result else {}
    return Reproduction(domains.config_text, Table([Column(""), Column("")], [Row(pair) for pair in pairs.items()]))

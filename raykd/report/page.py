"""report.html of a run: one file with everything in it, readable without a network, in light and in dark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from raykd.display.text import share
from raykd.records.durations import duration
from raykd.report import sections
from raykd.report.feedback_data import FeedbackData
from raykd.report.feedback_section import taught
from raykd.report.figures.canvas import DARK
from raykd.report.headline import headline, tiles
from raykd.report.html import NOTHING, Html, picture, table, tag
from raykd.report.pictures import Picture, pictures, write_figures
from raykd.report.run_files import Run, read_run
from raykd.report.style import CSS
from raykd.report.weighting_data import WeightingData
from raykd.report.weighting_section import chosen

# Nothing may be fetched and nothing may run, whatever a run's names contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(folder: Path) -> Path:
    """Writes report.html and figures/*.png into a run's folder, finished or not; returns the page's path.

    Raises:
        ConfigError: the folder is not there or is no run's.
        RaykdError: its result.json is damaged.
    """
    run = read_run(Path(folder))
    made = pictures(run)
    return written(run.folder, made, lambda light: document(run, made, light))


def written(folder: Path, made: list[Picture], source: Callable[[dict[str, bytes]], str]) -> Path:
    """Writes the pictures, and the page that shows them in one move; returns its path.

    Args:
        source: from the PNG of each picture in the light theme, by name, to the page.
    """
    light = {name: path.read_bytes() for name, path in write_figures(folder, made).items()}
    page = folder / "report.html"
    fresh = page.with_name("report.html.new")
    fresh.write_text(source(light), encoding="utf-8")
    os.replace(fresh, page)
    return page


def document(run: Run, made: list[Picture], light: dict[str, bytes]) -> str:
    """The page's source; `light` holds the PNG of each picture in the light theme, by name."""
    parts = [
        tag("header", tag("p", "raykd · distillation", class_="eyebrow"), tag("h1", run.name), headline(run)),
        tiles(run),
        sections.warnings(run),
        sections.models(run),
        _pictures([one for one in made if one.part == "run"], light),
        _chosen(run, [one for one in made if one.part == "chosen"], light),
        _taught(run, [one for one in made if one.part == "taught"], light),
        sections.classes(run),
        _efficiency(run),
        sections.splits(run),
        _behind(run),
    ]
    return page_of(run.name, parts)


def page_of(name: str, parts: list[Html]) -> str:
    """The source of a page that fetches and runs nothing."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", f"{name} · raykd"),
        tag("style", Html(CSS)),
    )
    body = tag("body", tag("main", *parts))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _pictures(made: list[Picture], light: dict[str, bytes]) -> Html:
    if not made:
        return tag("section", tag("p", "Nothing has been logged yet that could be drawn.", class_="text"))
    return tag("section", tag("h2", "Pictures"), drawn(made, light))


def _chosen(run: Run, made: list[Picture], light: dict[str, bytes]) -> Html:
    """Words, numbers and pictures of who taught what."""
    at = WeightingData.of(run)
    return NOTHING if at is None else chosen(run, at, drawn(made, light) if made else NOTHING)


def _taught(run: Run, made: list[Picture], light: dict[str, bytes]) -> Html:
    """Words, numbers and pictures of what the teachers learnt from the student."""
    feedback = FeedbackData.of(run)
    return NOTHING if feedback is None else taught(run, feedback, drawn(made, light) if made else NOTHING)


def drawn(made: list[Picture], light: dict[str, bytes]) -> Html:
    """Pictures with their titles and captions."""
    figures = [
        tag(
            "figure",
            tag("h3", one.title),
            picture(light[one.name], one.png(DARK), f"{one.title}. {one.caption}"),
            tag("figcaption", one.caption),
            class_="wide" if one.wide else "narrow",
        )
        for one in made
    ]
    return tag("div", *figures, class_="pictures")


def _efficiency(run: Run) -> Html:
    measured = run.result.get("efficiency", {})
    speed, only = measured.get("samples_per_s"), measured.get("student_only_samples_per_s")
    if speed is None:
        return NOTHING
    said = [f"The student learnt from {speed:,.0f} samples/s."]
    if only is not None:
        said.append(
            f"Without any teacher it would learn from {only:,.0f}"
            " (counted in the same run: the time in which it waited for or read soft targets taken off)."
        )
        if measured.get("ratio") is not None:
            said.append(f"So its teachers left it {share(measured['ratio'])} of its own speed.")
    if measured.get("wait_share") is not None:
        said.append(f"It spent {share(measured['wait_share'])} of its training time waiting for soft targets.")
    if measured.get("hit_rate") is not None:
        said.append(f"{share(measured['hit_rate'])} of the rows it asked for were known already when it asked.")
    if measured.get("targets_s") is not None and measured.get("train_s") is not None:
        said.append(
            f"The teachers' pass took {duration(measured['targets_s'])}, the training {duration(measured['train_s'])}."
        )
    return tag("section", tag("h2", "Efficiency"), tag("p", " ".join(said), class_="text"))


def _behind(run: Run) -> Html:
    """Seed, versions, addresses and configuration: what is needed to do it again."""
    result = run.result
    rows = [("", ["seed", str(result["seed"])])] if "seed" in result else []
    rows += [("", [str(name), str(version)]) for name, version in result.get("versions", {}).items()]
    fingerprint = result.get("data", {}).get("fingerprint")
    rows += [("", ["data", str(fingerprint)])] if fingerprint else []
    rows += [
        ("", [f"soft targets of {one['name']}", str(one["address"])])
        for one in result.get("teachers", [])
        if one.get("address")
    ]
    parts = [tag("h2", "To do it again")]
    if run.config:
        parts.append(tag("details", tag("summary", "Configuration"), tag("pre", run.config)))
    if rows:
        parts.append(tag("details", tag("summary", "Seed, versions and fingerprints"), table(["", ""], rows)))
    return tag("section", *parts) if len(parts) > 1 else NOTHING

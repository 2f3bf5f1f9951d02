"""report.html of a run: one file with everything in it, readable without a network, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raykd.report import sections
from raykd.report.feedback_section import feedback_section
from raykd.report.figures.picture import DrawnPicture, draw
from raykd.report.figures.run_pictures import run_pictures
from raykd.report.headline import headline, tiles
from raykd.report.method_section import method_section
from raykd.report.prototype_section import prototype_pictures, prototype_section
from raykd.report.run_files import Run, read_run
from raykd.report.templating import write_page
from raykd.report.views import RunPage, Section
from raykd.report.weighting_section import weighting_section


def render(folder: Path) -> Path:
    """Writes report.html and figures/*.png into a run's folder, finished or not; returns the page's path.

    Raises:
        ConfigError: the folder does not exist or is no run's.
        RunError: its result.json is damaged or of another version.
    """
    run = read_run(folder)
    return write_page(
        run.folder, run_page(run, draw([*run_pictures(run), *prototype_pictures(run)], run.folder / "figures"))
    )


def run_page(run: Run, pictures: Sequence[DrawnPicture]) -> RunPage:
    """The view of a run that the template shows, with its pictures in the sections that they belong to."""
    main = [picture for picture in pictures if picture.part == "main"]
    return RunPage(
        name=run.name,
        headline=headline(run),
        tiles=tiles(run),
        warnings=run.warnings,
        models=sections.models(run),
        method=method_section(run),
        pictures=Section(
            "Pictures", [] if main else ["Nothing has been logged yet that could be drawn."], pictures=main
        ),
        weighting=weighting_section(run, [picture for picture in pictures if picture.part == "weighting"]),
        feedback=feedback_section(run, [picture for picture in pictures if picture.part == "feedback"]),
        prototypes=prototype_section(run, [picture for picture in pictures if picture.part == "prototypes"]),
        classes=sections.classes(run),
        efficiency=sections.efficiency(run),
        splits=sections.splits(run),
        reproduction=sections.reproduction(run),
    )

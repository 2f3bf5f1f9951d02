"""report.html of a study: one file with everything in it, as a run's page is."""

from __future__ import annotations

from pathlib import Path

from raykd.display import study_text as words
from raykd.display.text import METRICS, count, number
from raykd.records.durations import duration
from raykd.records.study_state import TrialState
from raykd.report.headline import tile
from raykd.report.html import NOTHING, Html, prose, table, tag
from raykd.report.page import drawn, page_of, written
from raykd.report.pictures import Picture
from raykd.report.study_files import Study, is_study, read_study
from raykd.report.study_pictures import study_pictures

__all__ = ["is_study", "render"]

MOST_TRIALS = 40


def render(folder: Path) -> Path:
    """Writes report.html and figures/*.png into a study's folder, finished or not; returns the page's path.

    Raises:
        ConfigError: the folder is no study's.
        RaykdError: its result.json is damaged.
    """
    study = read_study(folder)
    made = study_pictures(study)
    return written(study.folder, made, lambda light: document(study, made, light))


def document(study: Study, made: list[Picture], light: dict[str, bytes]) -> str:
    """The page's source; `light` holds the PNG of each picture in the light theme, by name."""
    pictures = tag("section", tag("h2", "Pictures"), drawn(made, light)) if made else NOTHING
    header = tag("header", tag("p", "raykd · study", class_="eyebrow"), tag("h1", study.name), _headline(study))
    parts = [header, _tiles(study), _warnings(study), _said(study), pictures, _trials(study), _behind(study)]
    return page_of(study.name, parts)


def _headline(study: Study) -> Html:
    if study.result:
        return Html(
            tag("p", words.won(study.result), class_="lead") + tag("p", words.sure(study.result), class_="small")
        )
    state = study.state
    said = f"This study is not finished: {state.count('done')} trials are done, {state.count('running')} were running."
    if state.best is not None:
        said += f" The best so far is {state.best.name} with {number(state.best.value)}."
    return tag("p", prose(f"{said} `raykd study --resume` on the same folder goes on."), class_="lead")


def _tiles(study: Study) -> Html:
    result = study.result
    if not result:
        return NOTHING
    best, trials, at = result["best"], result["trials"], result["sharing"]
    name = METRICS.get(study.metric, study.metric)
    wide = (
        f"± {number(best['deviation'])} over {len(best['values'])} seeds" if best["deviation"] is not None else "1 seed"
    )
    counted = ", ".join(f"{trials[key]} {word}" for key, word in (("done", "finished"), ("stopped", "stopped early"),
                                                                  ("failed", "failed")) if trials[key])  # fmt: skip
    made = [
        tile(f"best, {name}", number(best["mean"]), wide),
        tile("trials", f"{sum(trials.values())}", counted),
        tile("its student", count(best["parameters"]), words.size(best)),
        tile("teacher rows computed", f"{at['rows_computed']:,}", f"{at['rows_used']:,} used by {at['trials']} trials"),
        tile("in all", duration(result["seconds"]), f"{result['concurrency']} trials at once"),
    ]
    return tag("div", *made, class_="tiles")


def _warnings(study: Study) -> Html:
    said = [str(one) for one in study.result.get("warnings", [])]
    if not said:
        return NOTHING
    return tag(
        "div", tag("strong", "Mind"), tag("ul", *(tag("li", one) for one in said)), class_="warnings", role="note"
    )


def _said(study: Study) -> Html:
    if not study.result:
        return NOTHING
    parts = [words.ended(study.result), words.mattered(study.result), words.shared(study.result)]
    return tag("section", tag("h2", "In words"), *(tag("p", one, class_="text") for one in parts if one))


def _trials(study: Study) -> Html:
    """Every trial, the best first, with its values and what it failed of; of very many the best."""
    order = {"done": 0, "running": 1, "stopped": 2, "failed": 3}
    trials = sorted(study.state.all.values(), key=lambda one: (order[one.state], -(one.value or 0.0)))
    if not trials:
        return NOTHING
    best = study.result.get("best", {}).get("runs", {})

    def row(one: TrialState) -> tuple[str, list[str]]:
        cells = [one.name, number(one.value), f"{one.step:,}", count(one.parameters), duration(one.seconds)]
        said = words.values(one.params) + (f". {one.reason}" if one.reason else "")
        return "student" if one.name in best else "", [*cells, one.state, said]

    title = "All trials" if len(trials) <= MOST_TRIALS else f"The best {MOST_TRIALS} of {len(trials)} trials"
    head = ["Trial", METRICS.get(study.metric, study.metric), "steps", "parameters", "time", "", "values"]
    return tag("section", tag("h2", title), table(head, map(row, trials[:MOST_TRIALS]), numeric=range(1, 5)))


def _behind(study: Study) -> Html:
    rows = [("", [str(name), str(version)]) for name, version in study.result.get("versions", {}).items()]
    parts = [tag("h2", "To do it again")]
    parts += [tag("details", tag("summary", "Configuration"), tag("pre", study.config))] if study.config else []
    parts += [tag("details", tag("summary", "Versions"), table(["", ""], rows))] if rows else []
    return tag("section", *parts) if len(parts) > 1 else NOTHING

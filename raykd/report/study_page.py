"""report.html of a study: one file with everything in it, as a run's page is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raykd.display import study_text
from raykd.display.durations import duration
from raykd.display.text import count, metric_name, number, plural
from raykd.records.study_state import TrialState
from raykd.report.figures.picture import DrawnPicture, draw
from raykd.report.figures.study_pictures import study_pictures
from raykd.report.study_files import Study, is_study, read_study
from raykd.report.templating import write_page
from raykd.report.views import Column, Headline, Reproduction, Row, Section, StudyPage, Table, Tile

__all__ = ["is_study", "render", "study_page"]

MOST_TRIALS = 40


def render(folder: Path) -> Path:
    """Writes report.html and figures/*.png into a study's folder, finished or not; returns the page's path.

    Raises:
        ConfigError: the folder is no study's.
        RunError: its result.json is damaged or of another version.
    """
    study = read_study(folder)
    return write_page(study.folder, study_page(study, draw(study_pictures(study), study.folder / "figures")))


def study_page(study: Study, pictures: Sequence[DrawnPicture]) -> StudyPage:
    """The view of a study that the template shows, with its pictures."""
    return StudyPage(
        name=study.name,
        headline=_headline(study),
        tiles=_tiles(study),
        warnings=study.result.warnings if study.result else [],
        summary=_summary(study),
        pictures=Section("Pictures", pictures=list(pictures)) if pictures else None,
        trials=_trials(study),
        reproduction=_reproduction(study),
    )


def _headline(study: Study) -> Headline:
    if study.result is not None:
        return Headline(study_text.best_text(study.result), study_text.certainty_text(study.result))
    state = study.state
    done, running = plural(state.count("done"), "trial"), state.count("running")
    sentences = [f"This study is not finished: {done} finished, {running} running at its last event."]
    if state.best is not None:
        sentences.append(f"The best so far is {state.best.name} with {number(state.best.value)}.")
    return Headline(" ".join([*sentences, "`raykd study --resume` with the same output folder resumes it."]))


def _tiles(study: Study) -> list[Tile]:
    result = study.result
    if result is None:
        return []
    best, trials, sharing = result.best, result.trials, result.sharing
    spread = "1 seed" if best.deviation is None else f"± {number(best.deviation)} over {len(best.values)} seeds"
    ended = ((trials.done, "finished"), (trials.stopped, "stopped early"), (trials.failed, "failed"))
    used = f"{sharing.rows_used:,} used by {sharing.trials} trials"
    at_once = f"{plural(result.concurrency, 'trial')} at a time" if result.concurrency else ""
    latency = f"{best.latency_ms:.1f} ms a row on the CPU" if best.latency_ms else ""
    name, test = metric_name(result.metric), best.test.get(result.metric) if best.test else None
    validation = Tile(f"best, {name} on validation", number(best.mean), spread)
    scored = Tile(f"best, {name} on test", number(test), "the run in best/, scored once; it chose nothing")
    return [
        *([] if test is None else [scored]),
        validation,
        Tile("trials", f"{trials.total}", ", ".join(f"{number_of} {how}" for number_of, how in ended if number_of)),
        Tile("parameters of the best student", count(best.parameters), latency),
        Tile("teacher rows computed", f"{sharing.rows_computed:,}", used),
        Tile("total time", duration(result.seconds), at_once),
    ]


def _summary(study: Study) -> Section | None:
    if study.result is None:
        return None
    texts = (study_text.trials_text, study_text.importance_text, study_text.sharing_text)
    return Section("Summary", [text(study.result) for text in texts])


def _trials(study: Study) -> Section | None:
    """Every trial, the best first, with its values and the reason if it failed; of very many the best."""
    order = {"done": 0, "running": 1, "stopped": 2, "failed": 3}
    trials = sorted(study.state.all.values(), key=lambda trial: (order[trial.state], -(trial.value or 0.0)))
    if not trials:
        return None
    best = study.result.best.runs if study.result else {}

    def row(trial: TrialState) -> Row:
        values = study_text.params_text(trial.params) + (f". {trial.reason}" if trial.reason else "")
        numbers = [number(trial.value), f"{trial.step:,}", count(trial.parameters), duration(trial.seconds)]
        return Row([trial.name, *numbers, trial.state, values], highlighted=trial.name in best)

    title = "All trials" if len(trials) <= MOST_TRIALS else f"The best {MOST_TRIALS} of {len(trials)} trials"
    titles = ["Trial", metric_name(study.metric), "steps", "parameters", "time", "", "values"]
    return Section(title, table=Table.of(titles, [row(trial) for trial in trials[:MOST_TRIALS]], text=(0, 5, 6)))


def _reproduction(study: Study) -> Reproduction:
    pairs = {"seed": str(study.result.seed), **study.result.versions} if study.result else {}
    return Reproduction(study.config_text, Table([Column(""), Column("")], [Row(pair) for pair in pairs.items()]))

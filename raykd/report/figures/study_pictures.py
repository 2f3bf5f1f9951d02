"""Which pictures a study has, each with its title and the sentence that says how to read it."""

from __future__ import annotations

from functools import partial

from raykd.records.study_result import StudyResult
from raykd.report.figures.picture import Picture
from raykd.report.figures.study_figures import costs, history, importances, parallel, seeds, trial_curves
from raykd.report.study_files import Study


def study_pictures(study: Study) -> list[Picture]:
    """The pictures for which the study has numbers, in reading order."""
    known = study.known
    if not known:
        return []
    failed = [trial for trial in study.state.searched if trial.state == "failed"]
    caption = (
        "Each dot is a trial; hollow ones were stopped early, crosses failed. The line is the best of the finished "
        "ones so far: where it no longer rises, more trials brought nothing."
    )
    pictures = [Picture("history", "Search history", caption, partial(history, known, failed, study.metric))]
    best = study.result.best.trial if study.result else study.state.best.name if study.state.best else ""
    caption = "The best validation value of each trial so far; dashed lines were stopped before their end."
    evaluated = [trial for trial in known if trial.values]
    draw = partial(trial_curves, evaluated, best, study.metric)
    pictures.append(Picture("trial_curves", "Trials during training", caption, draw))
    if len(known) > 1:
        caption = (
            "A line is a trial: it crosses each axis at its value of that key, and ends at its result, which is its "
            "colour too. Where lines of one colour run together, the key matters."
        )
        draw = partial(parallel, known, study.keys, study.metric)
        pictures.append(Picture("parallel", "Searched values and results", caption, draw))
    return [*pictures, *(_of_result(study, study.result) if study.result else [])]


def _of_result(study: Study, result: StudyResult) -> list[Picture]:
    pictures = []
    if result.importance:
        caption = (
            "How much worse a random forest predicts the metric when a key's values are shuffled among the trials, as "
            "shares. It holds within this space and these trials, not for keys that were not searched."
        )
        draw = partial(importances, result.importance)
        pictures.append(Picture("importance", "Importance of the searched keys", caption, draw))
    finished = [trial for trial in study.known if trial.state == "done"]
    if len({trial.parameters for trial in finished}) > 1:
        caption = "The line joins the trials that no other beats in both: the Pareto front. Latency is of a single row."
        draw = partial(costs, finished, result.front, study.metric)
        pictures.append(Picture("costs", "Results against size and latency", caption, draw))
    if result.repeated:
        caption = (
            "The best trials repeated with other seeds: circles are seeds, the diamond their mean, the line one "
            "deviation either way. Where the lines overlap, the order of the configurations is not settled."
        )
        draw = partial(seeds, result.repeated, study.metric)
        pictures.append(Picture("seeds", "Spread over seeds", caption, draw))
    return pictures

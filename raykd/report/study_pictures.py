"""Which pictures a study has, each with its title and the sentence that says how to read it."""

from __future__ import annotations

from functools import partial

from raykd.report.figures.study_figures import costs, courses, history, importances, parallel, spread
from raykd.report.pictures import Picture
from raykd.report.study_files import Study


def study_pictures(study: Study) -> list[Picture]:
    """The pictures for which the study has numbers, in reading order."""
    known = study.known
    if not known:
        return []
    failed = [one for one in study.state.searched if one.state == "failed"]
    caption = (
        "Each dot is a trial; hollow ones were stopped early, crosses failed. The line is the best of those that "
        "finished so far: where it no longer rises, more trials gave nothing."
    )
    made = [Picture("history", "How the search went", caption, partial(history, known, failed, study.metric))]
    best = study.result.get("best", {}).get("trial") or (study.state.best.name if study.state.best else "")
    caption = "The best validation value of each trial so far; dashed lines were stopped before their end."
    running = [one for one in known if one.values]
    made.append(Picture("courses", "Trial by trial", caption, partial(courses, running, best, study.metric)))
    if len(known) > 1:
        caption = (
            "A line is a trial: it crosses each axis at the value that it had, and ends at what it reached, which is "
            "its colour too. Where lines of one colour run together, that value mattered."
        )
        made.append(Picture("parallel", "Which values led where", caption, partial(parallel, known, study.keys,
                                                                                  study.metric)))  # fmt: skip
    made += _of_result(study)
    return made


def _of_result(study: Study) -> list[Picture]:
    result, made = study.result, []
    if result.get("importance"):
        caption = (
            "How much worse a random forest predicts the metric when a key's values are shuffled among the trials, as "
            "shares. It holds within this space and these trials, and says nothing of keys that were not searched."
        )
        made.append(Picture("importance", "What mattered", caption, partial(importances, result["importance"])))
    sized = [one for one in study.known if one.state == "done"]
    if len({one.parameters for one in sized}) > 1:
        caption = "The line joins the trials that no other beats in both: the Pareto front. Latency is of a single row."
        draw = partial(costs, sized, result.get("front", {}), study.metric)
        made.append(Picture("costs", "What size and speed cost", caption, draw))
    if result.get("repeated"):
        caption = (
            "The best trials again with other seeds: circles are seeds, the diamond their mean, the line one deviation "
            "either way. Where the lines overlap, the order of the configurations is not settled."
        )
        draw = partial(spread, result["repeated"], study.metric)
        made.append(Picture("spread", "How much of it was luck", caption, draw))
    return made

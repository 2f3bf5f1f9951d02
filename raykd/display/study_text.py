"""A study's result in sentences: the best configuration and how sure that is, what mattered, what sharing saved."""

from __future__ import annotations

import json
from typing import Any

from raykd.display.durations import duration
from raykd.display.text import article, margin, metric_name, number, plural, share
from raykd.records.study_result import StudyResult

SEARCHERS = {"random": "at random", "grid": "over the whole grid", "optuna": "by Optuna"}
MOST_KEYS = 3
"""How many keys are named after the most important one."""


def params_text(params: dict[str, Any]) -> str:
    """Searched values in a line: `objective.temperature 3.2, student.layers 2`."""
    return ", ".join(f"{key} {value_text(value)}" for key, value in params.items())


def value_text(value: Any) -> str:
    """A searched value as it is written."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)


def best_text(result: StudyResult) -> str:
    """The best configuration and its spread over seeds."""
    best, name = result.best, metric_name(result.metric)
    sentence = f"The best of {result.trials.total} trials has {params_text(best.params)}"
    if len(best.values) > 1:
        sentence += (
            f": its students reached {article(name)} {name} of {number(best.mean)} ± {number(best.deviation)}"
            f" over {len(best.values)} seeds."
        )
    else:
        sentence += f" and reached {article(name)} {name} of {number(best.mean)} with the one seed that it ran."
    test = best.test.get(result.metric) if best.test else None
    return sentence if test is None else f"{sentence} On the test split, which chose nothing: {number(test)}."


def certainty_text(result: StudyResult) -> str:
    """Whether the order of the best is settled."""
    groups = sorted(result.repeated, key=lambda group: -group.mean)
    sentences = []
    if len(groups) > 1:
        first, second = groups[:2]
        gap = first.mean - second.mean
        deviation = max(first.deviation or 0.0, second.deviation or 0.0)
        close = "less than" if gap < deviation else "more than"
        conclusion = "their order is not settled" if gap < deviation else "the seeds agree"
        sentences.append(
            f"It is {number(gap)} ahead of the next best ({second.trial}), {close} the seeds' deviation of "
            f"{number(deviation)}: {conclusion}."
        )
    half = margin(result.metric, result.value, result.validation_rows)
    if half is not None:
        sentences.append(
            f"On {result.validation_rows:,} validation rows chance alone moves it by about ±{number(half)} (95 %)."
        )
    if result.trials.total > 1:
        sentences.append(
            "The best of many on the same rows is a little too high an estimate; a test split gives a fair one."
        )
    return " ".join(sentences)


def importance_text(result: StudyResult) -> str:
    """The keys that the metric depends on most."""
    if not result.importance:
        return "The trials are too few, or too alike, to tell which key mattered."
    (key, weight), *rest = result.importance.items()
    sentence = f"{key} mattered most ({share(weight)} of the importance)"
    if rest:
        sentence += f"; then {', '.join(f'{key} ({share(weight)})' for key, weight in rest[:MOST_KEYS])}"
    return f"{sentence}."


def trials_text(result: StudyResult) -> str:
    """How many trials finished, were stopped or failed, and how long the study took."""
    trials = result.trials
    sentence = f"Searched {SEARCHERS.get(result.searcher, result.searcher)}: {trials.done} trials finished"
    if trials.stopped:
        sentence += f", {trials.stopped} were stopped early ({result.scheduler})"
    if trials.failed:
        sentence += f", {trials.failed} failed (the table gives the reasons)"
    at_once = f"With {plural(result.concurrency, 'trial')} at a time the" if result.concurrency else "The"
    return f"{sentence}. {at_once} study took {duration(result.seconds)}."


def sharing_text(result: StudyResult) -> str:
    """What one pass of the teachers for all trials saved."""
    sharing = result.sharing
    text = (
        f"The teachers computed {sharing.rows_computed:,} rows in {duration(sharing.teacher_s)}, once for "
        f"{sharing.trials} trials, whatever their temperatures, sizes and seeds; the students used "
        f"{sharing.rows_used:,}."
    )
    if sharing.rows_computed < sharing.rows_wanted:
        text += f" The other {sharing.rows_wanted - sharing.rows_computed:,} rows were stored by earlier runs."
    text += f" Trials with a teacher of their own would have computed {sharing.rows_apart:,}"
    return text + (f", {duration(sharing.saved_s)} more of the teachers' time." if sharing.saved_s else ".")

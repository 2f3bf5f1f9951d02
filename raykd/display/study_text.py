"""A study in words: what won and how sure that is, what mattered, what sharing the teachers saved."""

from __future__ import annotations

import json
from typing import Any

from raykd.display.text import METRICS, article, count, interval, number, share
from raykd.records.durations import duration
from raykd.report.run_files import Result

SEARCHERS = {"random": "at random", "grid": "over the whole grid", "optuna": "by Optuna"}
MOST_VALUES = 6


def values(params: dict[str, Any]) -> str:
    """`objective.temperature 3.2, student.layers 2`."""
    return ", ".join(f"{key} {value(at)}" for key, at in params.items())


def value(given: Any) -> str:
    """A searched value as it is written."""
    if isinstance(given, float):
        return f"{given:.3g}"
    return given if isinstance(given, str) else json.dumps(given)


def won(result: Result) -> str:
    """The best configuration and its spread."""
    best, name = result["best"], str(METRICS.get(result["metric"], result["metric"]))
    said = f"The best of {sum(result['trials'].values())} trials has {values(best['params'])}"
    if len(best["values"]) > 1:
        said += (
            f": its students reached {article(name)} {name} of {number(best['mean'])} ± {number(best['deviation'])}"
            f" over {len(best['values'])} seeds."
        )
    else:
        said += f" and reached {article(name)} {name} of {number(best['mean'])} with the one seed that it ran."
    test = (best.get("test") or {}).get(result["metric"])
    return said + (f" On test, which nothing was chosen by, {number(test)}." if test is not None else "")


def sure(result: Result) -> str:
    """Whether the order of the best is settled."""
    groups = sorted(result.get("repeated", []), key=lambda group: -group["mean"])
    rows, said = result.get("validation_rows", 0), []
    if len(groups) > 1:
        first, second = groups[:2]
        gap = first["mean"] - second["mean"]
        wide = max(first["deviation"] or 0.0, second["deviation"] or 0.0)
        close = "less than" if gap < wide else "more than"
        said.append(
            f"It is {number(gap)} ahead of the next best ({second['trial']}), {close} the seeds' deviation of "
            f"{number(wide)}: " + ("their order is not settled." if gap < wide else "the seeds agree.")
        )
    if result["metric"] == "accuracy" and rows:
        low, high = interval(result["value"], rows)
        said.append(f"On {rows:,} validation rows chance alone moves it by about ±{number((high - low) / 2)} (95 %).")
    if sum(result["trials"].values()) > 1:
        said.append("The best of many on the same rows flatters itself a little; a test split does not.")
    return " ".join(said)


def mattered(result: Result) -> str:
    """The keys that the metric hangs on."""
    weights = result.get("importance") or {}
    if not weights:
        return "Too few trials, or too like ones, to tell what mattered."
    first, *rest = weights.items()
    said = f"{first[0]} mattered most ({share(first[1])} of what the trials' differences hang on)"
    said += f"; then {', '.join(f'{key} ({share(weight)})' for key, weight in rest[:3])}" if rest else ""
    return f"{said}."


def ended(result: Result) -> str:
    """How the trials ended."""
    trials, how = result["trials"], SEARCHERS.get(result["searcher"], "")
    said = f"Searched {how}: {trials['done']} trials came to their end"
    if trials["stopped"]:
        said += f", {trials['stopped']} were stopped early ({result['scheduler']})"
    if trials["failed"]:
        said += f", {trials['failed']} failed (the table says of what)"
    return f"{said}. {result['concurrency']} ran at once; all of it took {duration(result['seconds'])}."


def shared(result: Result) -> str:
    """What one pass of the teachers for all trials saved."""
    at = result.get("sharing") or {}
    if not at:
        return ""
    said = (
        f"The teachers computed {at['rows_computed']:,} rows in {duration(at['teacher_s'])}, once for {at['trials']} "
        f"trials, whatever their temperatures, sizes and seeds; the students used {at['rows_used']:,}."
    )
    if at["rows_computed"] < at["rows_wanted"]:
        said += f" The other {at['rows_wanted'] - at['rows_computed']:,} rows were at hand from earlier runs."
    said += f" Apart, each with a teacher of its own, the trials would have computed {at['rows_apart']:,}"
    return said + (f", {duration(at['saved_s'])} more of the teachers' time." if at["saved_s"] else ".")


def size(best: dict[str, Any]) -> str:
    """`31 k parameters, 0.8 ms a row`."""
    said = [f"{count(best['parameters'])} parameters"] if best.get("parameters") else []
    said += [f"{best['latency_ms']:.1f} ms a row"] if best.get("latency_ms") else []
    return ", ".join(said)

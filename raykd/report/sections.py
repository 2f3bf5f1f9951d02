"""The page's tables: models, classes, splits; each is empty where a run has nothing to say."""

from __future__ import annotations

from typing import Any

from raykd.display.text import BASELINES, METRICS, SHORT, count, difference, number, taught
from raykd.records.durations import duration
from raykd.report.html import NOTHING, Html, table, tag
from raykd.report.run_files import Result, Run

MOST_CLASSES = 30


def warnings(run: Run) -> Html:
    """What the reader should know before trusting the numbers."""
    if not run.warnings:
        return NOTHING
    said = tag("ul", *(tag("li", one) for one in run.warnings))
    return tag("div", tag("strong", "Mind"), said, class_="warnings", role="note")


def models(run: Run) -> Html:
    """Teachers, baselines and the student in one table."""
    result = run.result
    if not result:
        return NOTHING
    metric, alone = run.metric, result.get("gap", {}).get("alone")
    entries: list[dict[str, Any]] = [result, *result.get("teachers", []), *result.get("baselines", {}).values()]
    without = result.get("baselines", {}).get("alone")
    others = sorted({name for one in entries for name in one.get("scores", {})} - {metric})

    def row(kind: str, name: str, value: float | None, one: dict[str, Any], size: float | None, how: str) -> tuple:
        scores = [number(one.get("scores", {}).get(key)) for key in others]
        learnt = taught(result, one["name"]) if name == f"teacher {one.get('name')}" else None
        said = number(value)
        if learnt is not None:
            value, said = learnt[1], f"{number(learnt[0])} → {number(learnt[1])}"
        gain = "-" if value is None or alone is None or one is without else difference(value - alone)
        return kind, [name, said, gain, *scores, count(size), how]

    size = result.get("student", {}).get("parameters")
    rows = [
        row("", f"teacher {one['name']}", one.get("metric"), one, one.get("parameters"), _teacher_pass(one))
        for one in result.get("teachers", [])
    ]
    rows += [
        row("", f"baseline {name}", one.get("value"), one, size, BASELINES.get(name, ""))
        for name, one in result.get("baselines", {}).items()
    ]
    rows.append(row("student", "student", result.get("value"), result, size, "distilled"))
    head = ["Model", SHORT.get(metric, metric), "against alone", *(SHORT.get(key, key) for key in others)]
    return tag(
        "section",
        tag("h2", "Teachers, baselines and the student"),
        table([*head, "parameters", ""], rows, numeric=range(1, len(head) + 1)),
        _test(result),
    )


def _teacher_pass(one: dict[str, Any]) -> str:
    said = f"{one.get('rows_computed', 0):,} rows computed, {one.get('rows_reused', 0):,} reused"
    return f"{said} in {duration(one['seconds'])}" if one.get("seconds") is not None else said


def _test(result: Result) -> Html:
    test = result.get("test")
    if not test:
        return NOTHING
    said = ", ".join(f"{METRICS.get(key, key)} {number(value)}" for key, value in test.items())
    rows = result.get("splits", {}).get("test", {}).get("rows")
    on = f" ({rows:,} rows)" if rows else ""
    return tag(
        "p",
        tag("strong", f"Test{on}: {said}."),
        " Scored once, at the end; nothing was chosen by it.",
        class_="text test",
    )


def classes(run: Run) -> Html:
    """Recall, precision and F1 of each class, from the confusion matrix; of very many classes the weakest."""
    counts = run.result.get("confusion")
    if not counts:
        return NOTHING
    labels = run.result.get("labels") or []
    named = labels if len(labels) == len(counts) else [str(k) for k in range(len(counts))]
    columns = [sum(row[k] for row in counts) for k in range(len(counts))]
    rows = []
    for k, name in enumerate(named):
        true, right = sum(counts[k]), counts[k][k]
        recall, precision = (right / of if of else None for of in (true, columns[k]))
        f1 = 2 * right / (true + columns[k]) if true + columns[k] else None
        rows.append((f1, ("", [str(name), f"{true:,}", number(recall), number(precision), number(f1)])))
    title = "Class by class"
    if len(rows) > MOST_CLASSES:
        rows = sorted(rows, key=lambda one: -1.0 if one[0] is None else one[0])[:MOST_CLASSES]
        title += f": the {MOST_CLASSES} with the lowest F1 of {len(counts)}"
    head = ["Class", "rows", "recall", "precision", "F1"]
    return tag("section", tag("h2", title), table(head, [one for _, one in rows], numeric=range(1, 5)))


def splits(run: Run) -> Html:
    """Which split fed which signal."""
    said = run.result.get("splits", {})
    if not said:
        return NOTHING
    rows = [
        (
            "",
            [
                signal,
                str(one.get("split", "")),
                f"{one.get('rows', 0):,}",
                ", ".join(map(str, one.get("used_for", []))),
            ],
        )
        for signal, one in said.items()
    ]
    return tag(
        "section",
        tag("h2", "Which rows fed what"),
        table(["Subset", "from split", "rows", "used for"], rows, numeric=[2]),
        _overlap(run.result),
    )


def _overlap(result: Result) -> Html:
    rows = result.get("data", {}).get("overlap")
    if rows is None:
        return NOTHING
    said = "No validation row stands in train as well."
    if rows:
        said = f"{rows:,} validation rows stand in train as well: the figures flatter every model by as much."
    return tag("p", said, class_="text")

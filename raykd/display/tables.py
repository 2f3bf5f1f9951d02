"""What commands print in the terminal: the result, the plan, the teachers, scores."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from raykd.display.text import METRICS, caution, count, difference, number, share, taught, verdict

TONES = {"good": "green", "even": "yellow", "bad": "yellow", "unknown": "dim"}


def final_table(result: dict[str, Any]) -> Table:
    """A rich table of a result.json; the caption says the gap and the efficiency in words."""
    metric = result.get("metric", "value")
    alone = result.get("gap", {}).get("alone")
    table = Table(title=Text(str(result.get("name", "run")), "bold"), title_justify="left", caption_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column(METRICS.get(metric, metric), justify="right")
    table.add_column("against alone", justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("", style="dim")

    def add(
        name: str, value: float | None, size: float | None, how: str, style: str = "", began: float | None = None
    ) -> None:
        known = value is not None and alone is not None and name not in ("baseline alone", "student, on test")
        gain = difference(value - alone) if known else "-"
        said = number(value) if began is None else f"{number(began)} -> {number(value)}"
        table.add_row(Text(name), said, gain, count(size), Text(how), style=style)

    size = result.get("student", {}).get("parameters")
    for one in result.get("teachers", []):
        rows = f"{one.get('rows_computed') or 0:,} rows computed, {one.get('rows_reused') or 0:,} reused"
        began, ended = taught(result, one["name"]) or (None, one.get("metric"))
        add(f"teacher {one['name']}", ended, one.get("parameters"), rows, began=began)
    table.add_section()
    for name, one in result.get("baselines", {}).items():
        speed = one.get("samples_per_s")
        add(f"baseline {name}", one.get("value"), size, "" if speed is None else f"{speed:,.0f} samples/s")
    table.add_section()
    speed = result.get("efficiency", {}).get("samples_per_s")
    add("student", result.get("value"), size, "" if speed is None else f"{speed:,.0f} samples/s", "bold")
    for name, value in (result.get("test") or {}).items():
        if name == metric:
            add("student, on test", value, size, "scored once")
    table.caption = _caption(result)
    return table


def _caption(result: dict[str, Any]) -> Text:
    said = verdict(result)
    text = Text(said.sentence, TONES[said.tone])
    for line in (caution(result), _efficiency(result)):
        if line:
            text.append(f"\n{line}", "dim")
    return text


def _efficiency(result: dict[str, Any]) -> str:
    measured = result.get("efficiency", {})
    if measured.get("samples_per_s") is None:
        return ""
    said = [f"{measured['samples_per_s']:,.0f} samples/s"]
    if measured.get("ratio") is not None:
        said.append(f"{share(measured['ratio'])} of the same student reading no teacher")
    if measured.get("wait_share") is not None:
        said.append(f"{share(measured['wait_share'])} of the time waiting")
    return f"Efficiency: {', '.join(said)}."


def plan_table(plan: dict[str, Any]) -> Table:
    """What `raykd check` found: what is trained and served, and what it takes; rows and warnings below."""
    table = Table(title=Text(f"{plan['name']}: {_task(plan['task'])}", "bold"), title_justify="left")
    for title in ("", "parameters", "steps", "processes", "each takes", "memory"):
        table.add_column(title, justify="left" if title in ("", "each takes") else "right", overflow="fold")
    for one in plan["teachers"]:
        name = f"teacher {one['name']}"
        if one["prepare"] == "finetune":
            table.add_row(Text(f"{name}, fine-tuned"), *_training_cells(one))
            one = {**one, "parameters": None, "memory_mb": None}
        served = f"{one['replicas']} replica{'s' * (one['replicas'] > 1)}"
        cells = (count(one.get("parameters")), "-", served, _resources(one["resources"]), _memory(one.get("memory_mb")))
        table.add_row(Text(f"{name}, {one['rows']:,} rows asked"), *cells)
    if plan.get("weighting"):
        table.add_row(*_policy_row(plan["weighting"]))
    if plan.get("feedback"):
        table.add_row(*_learning_row(plan["feedback"]))
    table.add_row(Text("student"), *_training_cells(plan["student"]), style="bold")
    for name, baseline in plan["baselines"].items():
        table.add_row(Text(f"baseline {name}"), *_training_cells(baseline))
    rows = ", ".join(f"{name} {number:,}" for name, number in plan["rows"].items())
    caption = Text(f"Rows: {rows}.", "dim")
    if plan.get("study"):
        caption.append(f"\n{_searched(plan['study'])}")
    for warning in plan["warnings"]:
        caption.append(f"\n{warning}", "yellow")
    table.caption, table.caption_justify = caption, "left"
    return table


def _policy_row(policy: dict[str, Any]) -> tuple[str | Text, ...]:
    copies = f", {policy['copies']} teachers more for honest losses" if policy["copies"] else ""
    named = Text(f"policy, on sentence vectors of {policy['sentences']}{copies}")
    return named, count(policy["parameters"]), f"{policy['updates']:,} updates", "1 selector", "no CPU", "-"


def _searched(study: dict[str, Any]) -> str:
    said = f"A study: at most {study['trials']} trials over {', '.join(study['keys'])}"
    return f"{said} ({study['searcher']}, {study['scheduler']}), {study['repetitions']} repetitions with other seeds."


def _learning_row(feedback: dict[str, Any]) -> tuple[str | Text, ...]:
    names, ranks = feedback["teachers"], feedback["ranks"]
    learn = f"{', '.join(names)} learn{'s' * (len(names) == 1)} by {feedback['type']}"
    processes = f"{ranks} rank{'s' * (ranks > 1)} each" if len(names) > 1 else f"{ranks} rank{'s' * (ranks > 1)}"
    parameters = count(feedback["parameters"])
    return (
        Text(learn),
        parameters,
        f"{feedback['rounds']:,} rounds",
        processes,
        "as served",
        _memory(feedback["memory_mb"]),
    )


def teachers_table(result: dict[str, Any]) -> Table:
    """The teachers that `raykd teach` has prepared, and where they lie."""
    table = Table("teacher", "parameters", "folder")
    for one in result["teachers"]:
        table.add_row(Text(one["name"]), count(one.get("parameters")), Text(str(one["folder"]), overflow="fold"))
    return table


def scores_table(result: dict[str, dict[str, float]]) -> Table:
    """A checkpoint's scores by split, as `raykd evaluate` gives them."""
    table = Table("split")
    names = list(dict.fromkeys(name for scores in result.values() for name in scores))
    for name in names:
        table.add_column(METRICS.get(name, name), justify="right")
    for split, scores in result.items():
        table.add_row(split, *(number(scores.get(name)) for name in names))
    return table


def _task(task: dict[str, Any]) -> str:
    labels = task.get("labels") or []
    named = f" of {', '.join(labels[:5])}{', …' * (len(labels) > 5)}" if labels else ""
    return f"{task['type']}{named}, best by {METRICS.get(task['metric'], task['metric'])}"


def _training_cells(one: dict[str, Any]) -> tuple[str, str, str, str, str]:
    workers = f"{one['workers']} worker{'s' * (one['workers'] > 1)}"
    steps, each = f"{one['steps']:,}", _resources(one["worker_resources"])
    return count(one.get("parameters")), steps, workers, each, _memory(one.get("memory_mb"))


def _resources(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount) or "no CPU"


def _memory(megabytes: float | None) -> str:
    return "-" if megabytes is None else f"{megabytes:,.0f} MB"

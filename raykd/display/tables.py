"""What commands print in the terminal: the result, the plan, the teachers, scores."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from raykd.display.features_text import planned
from raykd.display.model_values import value_cells, value_titles
from raykd.display.text import (
    TRAINED,
    caution,
    count,
    groups_kept,
    metric_name,
    number,
    plural,
    share,
    tuned_teachers,
    verdict,
)
from raykd.records.run_result import GroupResult, RunResult

TONES = {"good": "green", "even": "yellow", "bad": "yellow", "unknown": "dim"}


def final_table(result: RunResult) -> Table:
    """A rich table of a run's result; the caption has the gap and the efficiency in sentences."""
    parameters = count(result.student.parameters)
    table = Table(title=Text(result.name, "bold"), title_justify="left", caption_justify="left")
    table.add_column("model", overflow="fold")
    for title in (*value_titles(result), "parameters"):
        table.add_column(title, justify="right")
    table.add_column("", style="dim")
    for teacher in result.teachers:
        rows = f"{teacher.rows_computed:,} rows computed, {teacher.rows_reused:,} reused"
        cells = value_cells(result, teacher, arrow="->")
        table.add_row(Text(f"teacher {teacher.name}"), *cells, count(teacher.parameters), rows)
    table.add_section()
    for name, baseline in result.baselines.items():
        speed = f"{baseline.samples_per_s:,.0f} samples/s"
        cells = value_cells(result, baseline, alone=name == "alone")
        notes = "; ".join([speed, *tuned_teachers(result, baseline, arrow="->")])
        table.add_row(Text(f"baseline {name}"), *cells, parameters, notes)
    table.add_section()
    speed = f"{result.efficiency.samples_per_s:,.0f} samples/s"
    table.add_row("student", *value_cells(result, result), parameters, speed, style="bold")
    if result.test and result.reported_split == "validation":
        others = [""] * (len(table.columns) - 4)
        table.add_row("student, on test", number(result.test.get(result.metric)), *others, parameters, "scored once")
    table.caption = _caption(result)
    return table


def _caption(result: RunResult) -> Text:
    outcome, measured = verdict(result), result.efficiency
    text = Text(outcome.sentence, TONES[outcome.tone])
    efficiency = (
        f"Efficiency: {measured.samples_per_s:,.0f} samples/s, {share(measured.ratio)} of the same student reading no "
        f"teacher, {share(measured.wait_share)} of the time waiting."
    )
    for line in (caution(result), efficiency):
        if line:
            text.append(f"\n{line}", "dim")
    return text


def plan_table(plan: dict[str, Any]) -> Table:
    """What `raykd check` reports: what is trained and served, and what it takes; rows and warnings below."""
    table = Table(title=Text(f"{plan['name']}: {_task(plan['task'])}", "bold"), title_justify="left")
    for title in ("", "parameters", "steps", "processes", "each takes", "memory"):
        table.add_column(title, justify="left" if title in ("", "each takes") else "right", overflow="fold")
    for teacher in plan["teachers"]:
        name = f"teacher {teacher['name']}"
        if teacher["prepare"] in TRAINED:
            learnt = f"{name}, {TRAINED[teacher['prepare']]} on {teacher['train_rows']:,} rows"
            table.add_row(Text(learnt), *_training_cells(teacher))
            teacher = {**teacher, "parameters": None, "memory_mb": None}
        replicas, resources = plural(teacher["replicas"], "replica"), _resources(teacher["resources"])
        cells = (count(teacher.get("parameters")), "-", replicas, resources, _memory(teacher.get("memory_mb")))
        served = f", {_endpoint(teacher['endpoint'])}" if "endpoint" in teacher else ""
        table.add_row(Text(f"{name}{served}, {teacher['rows']:,} rows requested"), *cells)
    if plan.get("weighting"):
        table.add_row(*_policy_row(plan["weighting"]))
    if plan.get("feedback"):
        table.add_row(*_feedback_row(plan["feedback"]))
    table.add_row(Text("student"), *_training_cells(plan["student"]), style="bold")
    for name, baseline in plan["baselines"].items():
        if "teachers" in baseline:
            table.add_row(*_tuned_row(name, baseline["teachers"]))
        table.add_row(Text(f"baseline {name}"), *_training_cells(baseline))
    rows = ", ".join(f"{name} {number:,}" for name, number in plan["rows"].items())
    domain = f" of the domain {plan['target_domain']}" if plan.get("target_domain") else ""
    caption = Text(f"Rows{domain}: {rows}.", "dim")
    if plan.get("groups"):
        caption.append(f"\n{groups_kept(GroupResult(**plan['groups']))}", "dim")
    if plan.get("features"):
        caption.append(f"\nFeatures of teacher {plan['features']['teacher']}: {planned(plan['features'])}.", "dim")
    if plan.get("study"):
        caption.append(f"\n{_searched(plan['study'])}")
    for warning in plan["warnings"]:
        caption.append(f"\n{warning}", "yellow")
    table.caption, table.caption_justify = caption, "left"
    return table


def _policy_row(policy: dict[str, Any]) -> tuple[str | Text, ...]:
    copies = f", {policy['copies']} more teachers for cross-fitted losses" if policy["copies"] else ""
    name = Text(f"policy, on sentence vectors of {policy['sentences']}{copies}")
    return name, count(policy["parameters"]), f"{policy['updates']:,} updates", "1 selector", "no CPU", "-"


def _searched(study: dict[str, Any]) -> str:
    head = f"A study: at most {study['trials']} trials over {', '.join(study['keys'])}"
    return f"{head} ({study['searcher']}, {study['scheduler']}), {study['repetitions']} repetitions with other seeds."


def _feedback_row(feedback: dict[str, Any]) -> tuple[str | Text, ...]:
    names, ranks = feedback["teachers"], plural(feedback["ranks"], "rank")
    learners = f"{', '.join(names)} learn{'s' * (len(names) == 1)} by {feedback['type']}"
    return (
        Text(learners),
        count(feedback["parameters"]),
        plural(feedback["rounds"], "round"),
        f"{ranks} each" if len(names) > 1 else ranks,
        "as served",
        _memory(feedback["memory_mb"]),
    )


def _tuned_row(baseline: str, tuned: dict[str, Any]) -> tuple[str | Text, ...]:
    names = tuned["names"]
    head = f"{', '.join(names)} trained on the quiz for {baseline}, {tuned['rows']:,} rows requested"
    each = plural(1, "process") + " each" * (len(names) > 1)
    return (
        Text(head),
        count(tuned["parameters"]),
        f"{tuned['steps']:,}",
        each,
        "as served",
        _memory(tuned["memory_mb"]),
    )


def _endpoint(served: dict[str, Any]) -> str:
    """`MODEL at an endpoint (form tei, logits)`, as its server says."""
    revision = "" if served["revision"] is None else f", revision {served['revision']}"
    return f"{served['model']} at an endpoint (form {served['form']}, {served['outputs']}{revision})"


def teachers_table(result: dict[str, Any]) -> Table:
    """The teachers that `raykd teach` has prepared, their folders, and what was stored of them."""
    stored = any("rows" in teacher for teacher in result["teachers"])
    table = Table("teacher", "parameters", "folder", *(["soft targets"] if stored else []))
    for teacher in result["teachers"]:
        folder = Text(str(teacher["folder"]) or "a server has it", overflow="fold")
        rows = [f"{teacher['rows']:,} rows, {teacher['rows_computed']:,} computed now"] if stored else []
        table.add_row(Text(teacher["name"]), count(teacher["parameters"]), folder, *rows)
    return table


def scores_table(result: dict[str, dict[str, float]]) -> Table:
    """A checkpoint's scores by split, as `raykd evaluate` gives them."""
    table = Table("split")
    names = list(dict.fromkeys(name for scores in result.values() for name in scores))
    for name in names:
        table.add_column(metric_name(name), justify="right")
    for split, scores in result.items():
        table.add_row(split, *(number(scores.get(name)) for name in names))
    return table


def _task(task: dict[str, Any]) -> str:
    labels = task.get("labels") or []
    classes = f" of {', '.join(labels[:5])}{', …' * (len(labels) > 5)}" if labels else ""
    return f"{task['type']}{classes}, best by {metric_name(task['metric'])}"


def _training_cells(training: dict[str, Any]) -> tuple[str, str, str, str, str]:
    steps, workers = f"{training['steps']:,}", plural(training["workers"], "worker")
    resources = _resources(training["worker_resources"])
    parameters = f"{'≤ ' * training.get('at_most', False)}{count(training.get('parameters'))}"
    return parameters, steps, workers, resources, _memory(training.get("memory_mb"))


def _resources(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount) or "no CPU"


def _memory(megabytes: float | None) -> str:
    return "-" if megabytes is None else f"{megabytes:,.0f} MB"

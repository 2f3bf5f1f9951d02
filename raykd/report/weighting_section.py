"""The page's section on weighting: how teachers were weighted, on which rows, and whether a policy beat the rules."""

from __future__ import annotations

from collections.abc import Sequence

from raykd.display.text import RULES, difference, margin, metric_name, number, share
from raykd.report.figures.picture import DrawnPicture
from raykd.report.run_files import Run
from raykd.report.views import Row, Section, Table
from raykd.report.weighting_data import GROUPS, WeightingData

REWARDS = {
    "r1": "the negative of the student's loss against the label after its step",
    "r2": "the negative of the student's loss against the label and the teachers after its step",
    "r3": "the negative of the student's loss after its step, blended with the fall of its loss on the reward split",
    "influence": "how much a teacher's weight on a row would lower the student's loss on held-out rows",
}
MODES = {
    "sample": "At every step the teachers were drawn from its probabilities",
    "prob": "Steps without a reward weighted the teachers by its probabilities",
    "greedy": "Steps without a reward used the teachers with a probability above one half",
}
LOW, HIGH = 0.25, 0.95
"""Shares of a uniform policy's entropy."""
NOTABLE = 0.1
"""The difference between groups from which a sentence names them."""


def weighting_section(run: Run, pictures: Sequence[DrawnPicture]) -> Section | None:
    """The whole section; None where the weights do not depend on the row."""
    data = WeightingData.of(run)
    if data is None:
        return None
    paragraphs = [_method(data), _entropy(data), _weights(data), *_groups(data), _against_rules(run, data)]
    shown = [paragraph for paragraph in paragraphs if paragraph]
    return Section("Weighting of the teachers", shown, _table(data), pictures=list(pictures))


def _method(data: WeightingData) -> str:
    if not data.by_policy:
        return f"The rule `{data.type}` weighted the teachers on each row."
    so_far = "" if data.result else " so far"
    sentence = f"A policy chose the teachers of each row. It was updated {data.updates:,} times{so_far}"
    if data.result and data.result.reward:
        sentence += f"; its reward {data.result.reward} is {REWARDS.get(data.result.reward, 'of the student')}"
    mode = MODES.get(data.result.mode or "") if data.result else None
    return f"{sentence}. {mode}." if mode else f"{sentence}."


def _entropy(data: WeightingData) -> str:
    uniform = data.result.entropy_uniform if data.result else None
    newest = data.policy.entropy.last if data.policy else None
    if not uniform or newest is None:
        return ""
    kept = newest / uniform
    sentence = f"The policy kept {share(kept)} of the entropy of a uniform policy ({uniform:.2f} nats)"
    if kept < LOW:
        return f"{sentence}: on most rows it is nearly deterministic."
    return f"{sentence}: it hardly differs from uniform." if kept > HIGH else f"{sentence}."


def _weights(data: WeightingData) -> str:
    """The teachers from the largest mean weight down."""
    if not data.weights or not data.weights.all:
        return ""
    what = "probability of being chosen" if data.by_policy else "weight"
    ordered = sorted(data.weights.all.items(), key=lambda entry: -entry[1])
    shares = ", ".join(f"{share(weight)} for {name}" for name, weight in ordered)
    return f"On {data.weights.rows:,} training rows the mean {what} was {shares}."


def _groups(data: WeightingData) -> list[str]:
    """Where a teacher's weight differs much between groups of rows."""
    sentences = []
    for key, groups in data.groups.items():
        spread = {teacher: _spread([group.weight[teacher] for group in groups]) for teacher in data.teachers}
        teacher = max(data.teachers, key=lambda name: spread[name])
        if spread[teacher] < NOTABLE:
            continue
        ordered = sorted(groups, key=lambda group: group.weight[teacher])
        least, most = ordered[0], ordered[-1]
        sentences.append(
            f"By {GROUPS[key]} the largest difference is {teacher}'s: {share(most.weight[teacher])} on {most.group}, "
            f"{share(least.weight[teacher])} on {least.group}."
        )
    return [" ".join(sentences)]


def _spread(weights: Sequence[float]) -> float:
    return max(weights) - min(weights)


def _against_rules(run: Run, data: WeightingData) -> str:
    """The policy's student beside those of the rules among the baselines."""
    result = run.result
    value = result.reported_value(result) if result else None
    if result is None or value is None or not data.by_policy:
        return ""
    values = {name: result.reported_value(baseline) for name, baseline in result.baselines.items() if name in RULES}
    rules = {name: other for name, other in values.items() if other is not None}
    if not rules:
        return ""
    comparisons = []
    for rule, other in sorted(rules.items(), key=lambda entry: -entry[1]):
        verb = "equalled" if number(value) == number(other) else "beat" if value > other else "lost to"
        comparisons.append(f"{verb} {rule} ({number(other)}, {difference(value - other)})")
    name = metric_name(run.metric)
    sentence = f"With a {result.reported_split} {name} of {number(value)} its student {', '.join(comparisons)}."
    rows = result.rows_of(result.reported_split)
    half = margin(run.metric, value, rows)
    small = 0 if half is None else sum(abs(value - other) < half for other in rules.values())
    if not small:
        return sentence
    which = f"{'All' if small == len(rules) else small} of these differences {'is' if small == 1 else 'are'}"
    which = "This difference is" if len(rules) == 1 else which
    return f"{sentence} {which} smaller than chance on {rows:,} rows."


def _table(data: WeightingData) -> Table | None:
    """Every group's weights; the largest groups where there are very many."""
    if not data.groups:
        return None
    rows = []
    for key, groups in data.largest_groups.items():
        for group in groups:
            shares = [share(group.weight[name]) for name in data.teachers]
            rows.append(Row([f"{key} {group.group}", f"{group.rows:,}", *shares]))
    return Table.of(["Rows", "number", *data.teachers], rows, text=(0,))

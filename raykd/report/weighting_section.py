"""The page's words on who taught what: how often each teacher, whether the policy made up its mind, what it beat."""

from __future__ import annotations

from raykd.display.text import METRICS, RULES, difference, interval, number, share, validation_rows
from raykd.report.html import NOTHING, Html, prose, table, tag
from raykd.report.run_files import Run
from raykd.report.weighting_data import GROUPS, WeightingData

REWARDS = {
    "r1": "less of its own loss against the label",
    "r2": "less of its own loss against label and teachers",
    "r3": "less of its own loss and more right answers on the reward split",
}
MODES = {
    "sample": "Every step drew its choices",
    "prob": "Steps without a reward blended the teachers by their probabilities",
    "greedy": "Steps without a reward took the teachers that are more likely than not",
}
CLOSED, OPEN = 0.25, 0.75
"""Shares of an undecided policy's entropy."""
SPREAD = 0.1


def chosen(run: Run, at: WeightingData, drawn: Html) -> Html:
    """The whole section.

    Args:
        run: the run.
        at: what its weighting did.
        drawn: its pictures, or nothing.
    """
    parts = [_how(at), _mind(at), _who(at), _against_rules(run, at)]
    paragraphs = [tag("p", prose(said), class_="text") for said in parts if said]
    return tag("section", tag("h2", "Who taught what"), *paragraphs, _table(at), drawn)


def _how(at: WeightingData) -> str:
    if not at.policy:
        return f"The teachers were blended row by row by the rule `{at.rule}`."
    said = f"A policy chose the teachers row by row; {at.updates:,} updates taught it to"
    said = said if at.finished else f"{said[: -len(' taught it to')]} so far teach it to"
    reward = REWARDS.get(at.reward, "what helps the student")
    said += f" choose what gave the student, after its step, {reward}."
    return f"{said} {MODES[at.mode]}." if at.mode in MODES else said


def _mind(at: WeightingData) -> str:
    if not at.policy or at.undecided is None or not at.entropy:
        return ""
    left = at.entropy.y[-1] / at.undecided
    said = f"Of the entropy of one who has not made up his mind ({at.undecided:.2f} nats) {share(left)} was left"
    if left < CLOSED:
        return f"{said}: it is decided on most rows."
    return f"{said}: it hardly prefers anybody." if left > OPEN else f"{said}."


def _who(at: WeightingData) -> str:
    """The teachers from the most heard down, and where one is heard much more in one group than in another."""
    if not at.overall:
        return ""
    verb = "was likely to be chosen on" if at.policy else "had a mean weight of"
    ordered = sorted(at.overall.items(), key=lambda one: -one[1])
    said = [f"On {at.rows:,} training rows {ordered[0][0]} {verb} {share(ordered[0][1])}"]
    said += [f"{name} {share(weight)}" for name, weight in ordered[1:]]
    sentences = [", ".join(said) + "."]
    for key, groups in at.groups.items():
        gaps = [(max(g.weight[t] for g in groups) - min(g.weight[t] for g in groups), t) for t in at.teachers]
        gap, teacher = max(gaps)
        if gap >= SPREAD and len(groups) > 1:
            most, least = (pick(groups, key=lambda g: g.weight[teacher]) for pick in (max, min))
            sentences.append(
                f"By {GROUPS[key]} the largest difference is {teacher}'s: {share(most.weight[teacher])} on "
                f"{most.name}, {share(least.weight[teacher])} on {least.name}."
            )
    return " ".join(sentences)


def _against_rules(run: Run, at: WeightingData) -> str:
    """Whether the policy beat each rule, where rules were run beside it."""
    value = run.result.get("value")
    rules = {name: one["value"] for name, one in run.result.get("baselines", {}).items() if name in RULES}
    if not at.policy or value is None or not rules:
        return ""
    name = METRICS.get(run.metric, run.metric)
    words = []
    for rule, theirs in sorted(rules.items(), key=lambda one: -one[1]):
        gap = value - theirs
        verb = "tied with" if number(value) == number(theirs) else "beat" if gap > 0 else "lost to"
        words.append(f"{verb} {rule} ({number(theirs)}, {difference(gap)})")
    said = f"With a validation {name} of {number(value)} its student {', '.join(words)}."
    rows = validation_rows(run.result)
    if run.metric == "accuracy" and rows:
        low, high = interval(value, rows)
        small = sum(abs(value - theirs) < (high - low) / 2 for theirs in rules.values())
        if small:
            which = "All" if small == len(rules) else f"{small}"
            said += (
                f" {which} of these differences {'is' if small == 1 else 'are'} smaller than chance on {rows:,} rows."
            )
    return said


def _table(at: WeightingData) -> Html:
    """Every group's weights; the largest groups where there are very many."""
    if not at.groups:
        return NOTHING
    rows = []
    for key, groups in at.groups.items():
        for one in sorted(groups, key=lambda g: -g.rows)[:12] if len(groups) > 12 else groups:
            cells = [f"{GROUPS[key].split()[0]} {one.name}", f"{one.rows:,}"]
            rows.append(("", cells + [share(one.weight[name]) for name in at.teachers]))
    return table(["Rows", "number", *at.teachers], rows, numeric=range(1, 2 + len(at.teachers)))

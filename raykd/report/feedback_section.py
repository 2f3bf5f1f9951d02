"""The page's words on what the teachers learnt: how, whether it did them good, signal against noise, and the price."""

from __future__ import annotations

from statistics import fmean

from raykd.display.text import METRICS, SHORT, difference, interval, number, percent, share, size, validation_rows
from raykd.records.durations import duration
from raykd.report.feedback_data import NORMS, FeedbackData, TrainedTeacher
from raykd.report.html import Html, prose, table, tag
from raykd.report.run_files import Run

MOST_SENTENCES = 4
LITTLE = 0.05
DROWNED = 20.0
"""How many times longer one term's gradient is, on the mean, where another no longer counts."""
MOSTLY = 0.8
METHODS = {"metadistil": "MetaDistil", "ikd": "IKD"}
ROUTES = {
    "forward": "in forward mode",
    "central": "by central differences",
    "one_sided": "by one-sided differences",
}
VERDICTS = {
    "better": "ended better than it began",
    "worse": "ended worse than it began",
    "same": "ended as it began",
}
SO_FAR = {
    "better": "stands better than it began",
    "worse": "stands worse than it began",
    "same": "stands where it began",
}


def taught(run: Run, feedback: FeedbackData, drawn: Html) -> Html:
    """The whole section.

    Args:
        run: the run.
        teaching: what its teachers learnt.
        drawn: its pictures, or nothing.
    """
    parts = [_how(feedback), _verdicts(run, feedback), _signal(feedback), _scale(feedback), _price(run, feedback)]
    paragraphs = [tag("p", prose(said), class_="text") for said in parts if said]
    return tag("section", tag("h2", "What the teachers learnt"), *paragraphs, _table(run, feedback), drawn)


def _how(at: FeedbackData) -> str:
    method = METHODS.get(at.kind, "feedback")
    rounds = f"{at.rounds:,} round{'s' * (at.rounds != 1)}"
    said = [
        (f"In {rounds} of {method}" if at.finished else f"This run is not finished: in {rounds} of {method} so far")
        + (" the teacher" if len(at.teachers) == 1 else " the teachers")
    ]
    if not at.asked:
        return f"{said[0]} did not hear the student (feedback.weight is 0) and learnt from the other terms alone."
    said[0] += " learnt from the student's loss on "
    said[0] += "exam rows after the student's own step." if at.ikd else "quiz rows after a pilot step on a copy of it."
    if at.split:
        said.append(f"Those rows came from the split `{at.split}`, never from validation.")
    if at.quiz_after is not None:
        before = "" if at.quiz_before is None else f"{at.quiz_before:.4f} before that step and "
        said.append(f"The mean loss on them was {before}{at.quiz_after:.4f} after it.")
    if at.route:
        why = f" ({at.route_reason.rstrip('.')})" if at.route_reason else ""
        said.append(f"The student's side of the gradient was taken {ROUTES.get(at.route, at.route)}{why}.")
    if at.surrogate:
        said.append(f"The gradient is a surrogate: {at.surrogate.rstrip('.')}.")
    return " ".join(said)


def _verdicts(run: Run, at: FeedbackData) -> str:
    """Each teacher in a sentence; of many, how many did what."""
    words = VERDICTS if at.finished else SO_FAR
    known = [one for one in at.teachers if one.verdict in words]
    if not known:
        return ""
    name = METRICS.get(run.metric, run.metric)
    if len(known) <= MOST_SENTENCES:
        said = [f"{one.name} {words[one.verdict]}{_numbers(one, name)}." for one in known]
    else:
        counts = {word: sum(one.verdict == word for one in known) for word in words}
        said = [
            f"Of {len(known)} taught teachers {counts['better']} {'ended' if at.finished else 'stand'} better than "
            f"they began, {counts['worse']} worse and {counts['same']} the same, by their own validation {name}."
        ]
    return " ".join([*said, *_chance(run, known)])


def _numbers(one: TrainedTeacher, metric: str) -> str:
    if one.began is None or one.ended is None:
        return ""
    change = f", {difference(one.ended - one.began)}" if number(one.began) != number(one.ended) else ""
    return f" (validation {metric} {number(one.began)} → {number(one.ended)}{change})"


def _chance(run: Run, known: list[TrainedTeacher]) -> list[str]:
    """Says so where a teacher's change is less than chance moves an accuracy on so few rows."""
    rows = validation_rows(run.result)
    if run.metric != "accuracy" or not rows:
        return []
    changed = [one for one in known if number(one.began) != number(one.ended)]
    small = sum(_within_chance(one, rows) for one in changed)
    if not small:
        return []
    than = f"smaller than chance moves an accuracy on {rows:,} rows"
    if len(changed) == 1:
        return [f"That change is {than}."]
    return [f"{'All' if small == len(changed) else small} of these changes {'is' if small == 1 else 'are'} {than}."]


def _within_chance(one: TrainedTeacher, rows: int) -> bool:
    if one.began is None or one.ended is None:
        return False
    low, high = interval(one.ended, rows)
    return abs(one.ended - one.began) < (high - low) / 2


def _signal(at: FeedbackData) -> str:
    """With g = s + n, noise n of each batch its own, the mean cosine of two g is about |s|² / (|s|² + |n|²)."""
    if at.cosine_quiz is None:
        return ""
    rows = "exam" if at.ikd else "quiz"
    value = at.cosine_quiz
    said = (
        f"Signal against noise: the gradients that two independent {rows} batches gave the same teacher had a mean "
        f"cosine of {value:.2f}. At 1 the {rows} rows agree on what the teacher should change, at 0 each batch pulls "
        "its own way; so "
    )
    if value < LITTLE:
        said += "next to nothing here was signal, and the teachers walked about at random: look at their drift."
    else:
        said += f"about {share(value)} of such a gradient's squared length was signal, the rest noise of the batch."
    return f"{said} {_agreement(at)}".rstrip()


def _agreement(at: FeedbackData) -> str:
    """Of rounds with each other: a student that leans now one way, now the other, asks for opposite changes in turn."""
    cosines = [value for one in at.teachers for value in one.cosine_last.y]
    if not cosines:
        return ""
    mean = fmean(cosines)
    said = f"Between a round and the one measured before it the mean cosine was {mean:.2f}"
    return f"{said}: what one asked for the next did not confirm." if mean < LITTLE else f"{said}."


def _scale(at: FeedbackData) -> str:
    """What a weight or a rate would not tell: a term that drowns another, steps that all have the same length."""
    said = []
    for one in at.teachers[:MOST_SENTENCES]:
        # The anchor's gradient is none where the teacher has not moved.
        norms = {key: norm for key, norm in one.norms.items() if key != "anchor" and norm > 0}
        loud = max(norms, key=lambda key: norms[key], default="")
        said += [
            f"The gradient of {one.name}'s term `{NORMS[loud]}` was on the mean {norms[loud] / norm:,.0f} times as "
            f"long as that of `{NORMS[key]}`, which hardly counted: weigh them (feedback.weight) to hear both."
            for key, norm in norms.items()
            if norms[loud] / norm >= DROWNED
        ]
    if at.clip and at.clipped is not None and at.clipped >= MOSTLY:
        said.append(
            f"In {share(at.clipped)} of the teachers' steps the gradient was longer than "
            f"teacher_max_grad_norm ({at.clip:g}) "
            "and was cut to it: under SGD those steps are all as long as the rate says, and a strong answer moves a "
            "teacher no further than a weak one."
        )
    return " ".join(said)


def _price(run: Run, at: FeedbackData) -> str:
    if at.seconds is None and at.wire_bytes is None:
        return ""
    whole = run.result.get("seconds")
    said = []
    if at.seconds is not None:
        part = f", {share(at.seconds / whole)} of the run's time" if whole else ""
        said.append(f"Feedback took {duration(at.seconds)}{part}")
    if at.wire_bytes is not None:
        each = f" ({size(at.wire_bytes / at.rounds)} a round)" if at.rounds and at.wire_bytes else ""
        said.append(f"{size(at.wire_bytes)} went over the wire{each}")
    return "; ".join(said) + "."


def _table(run: Run, at: FeedbackData) -> Html:
    """Began and ended, and the gradient norm of each term: beside each other their scale matters."""
    norms = [key for key in NORMS if any(key in one.norms for one in at.teachers)]
    head = ["Teacher", f"{SHORT.get(run.metric, run.metric)}, began → {'ended' if at.finished else 'now'}"]
    head += ["change", "versions", "drift", "cosine", *(f"‖g‖ {NORMS[key]}" for key in norms)]
    rows = []
    for one in at.teachers:
        known = one.began is not None and one.ended is not None
        cells = [one.name, f"{number(one.began)} → {number(one.ended)}"]
        cells.append(difference(one.ended - one.began) if known else "-")  # type: ignore[operator]
        cells.append("-" if one.versions is None else f"{one.versions:,}")
        cells.append("-" if one.drifted is None else percent(one.drifted))
        cosines = one.cosine_quiz.y
        cells.append(f"{sum(cosines) / len(cosines):.2f}" if cosines else "-")
        cells += [f"{one.norms[key]:.2g}" if key in one.norms else "-" for key in norms]
        rows.append(("", cells))
    return table(head, rows, numeric=range(1, len(head)))

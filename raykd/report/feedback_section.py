"""The page's section on feedback: how it was done, whether it made the teachers better, how much of it was signal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from raykd.display.durations import duration
from raykd.display.text import (
    difference,
    margin,
    metric_name,
    number,
    percent,
    plural,
    share,
    short_name,
    size,
)
from raykd.report.feedback_data import FeedbackData, TrainedTeacher
from raykd.report.figures.picture import DrawnPicture
from raykd.report.run_files import Run
from raykd.report.views import Row, Section, Table

MOST_SENTENCES = 4
NO_SIGNAL = 0.05
"""A mean cosine below this is called none."""
NEGLIGIBLE = 20.0
"""How many times longer one term's gradient is, on average, where another no longer has an effect."""
MOSTLY = 0.8
METHODS = {"metadistil": "MetaDistil", "ikd": "IKD"}
TERMS = {"feedback": "feedback", "ce": "own labels", "kd": "student", "reference": "reference"}
ROUTES = {
    "forward": "in forward mode",
    "central": "by central differences",
    "one_sided": "by one-sided differences",
}


def feedback_section(run: Run, pictures: Sequence[DrawnPicture]) -> Section | None:
    """The whole section; None for a run whose teachers are frozen."""
    data = FeedbackData.of(run)
    if data is None:
        return None
    paragraphs = [_method(data), _outcome(run, data), _signal(data), _scale(data), _cost(run, data)]
    shown = [paragraph for paragraph in paragraphs if paragraph]
    return Section("Feedback to the teachers", shown, _table(run, data), pictures=list(pictures))


def _method(data: FeedbackData) -> str:
    who = "the teacher was" if len(data.teachers) == 1 else "the teachers were"
    so_far = "" if data.result else " so far"
    start = f"In {plural(data.rounds, 'round')} of {METHODS.get(data.type, 'feedback')}{so_far} {who} trained"
    if not data.from_student:
        return f"{start} without feedback from the student (feedback.weight is 0), on the other terms alone."
    after = "after a pilot step on a copy of the student" if data.pilot else "after the student's own step"
    # Where another package's method puts the quiz is not known here.
    when = f" {after}" if data.type in METHODS else ""
    sentences = [f"{start} on the gradient of the student's loss on quiz rows{when}."]
    result = data.result
    if result:
        sentences.append(f"The quiz rows came from the split `{result.split}`, never from validation.")
    if data.quiz_after is not None:
        before = "" if data.quiz_before is None else f"{data.quiz_before:.4f} before that step and "
        sentences.append(f"The mean quiz loss was {before}{data.quiz_after:.4f} after it.")
    if result:
        reason = f" ({result.route_reason.rstrip('.')})" if result.route_reason else ""
        sentences.append(f"The student's part of the gradient was computed {ROUTES.get(result.route, '')}{reason}.")
    if result and result.surrogate:
        sentences.append(f"The gradient is a surrogate: {result.surrogate.rstrip('.')}.")
    return " ".join(sentences)


def _outcome(run: Run, data: FeedbackData) -> str:
    """Each teacher in a sentence; of many, how many became better, worse, or neither."""
    known = [teacher for teacher in data.teachers if teacher.verdict]
    if not known:
        return ""
    name, verb = metric_name(run.metric), "ended" if data.result else "is"
    if len(known) <= MOST_SENTENCES:
        sentences = [f"{teacher.name} {verb} {_comparison(teacher, name)}." for teacher in known]
    else:
        counts = {key: sum(teacher.verdict == key for teacher in known) for key in ("better", "worse", "same")}
        sentences = [
            f"Of {len(known)} teachers trained by feedback {counts['better']} {'ended' if data.result else 'are'} "
            f"better than they began, {counts['worse']} worse and {counts['same']} the same, by validation {name}."
        ]
    return " ".join([*sentences, *_chance(run, known)])


def _comparison(teacher: TrainedTeacher, metric: str) -> str:
    values = f"validation {metric} {number(teacher.began)} → {number(teacher.ended)}"
    if teacher.verdict == "same":
        return f"as good as it began ({values})"
    return f"{teacher.verdict} than it began ({values}, {difference(teacher.change)})"


def _chance(run: Run, known: list[TrainedTeacher]) -> list[str]:
    """A sentence where changes are smaller than chance moves an accuracy on so few rows."""
    rows = run.result.validation_rows if run.result else 0
    changed = [teacher for teacher in known if teacher.verdict != "same"]
    halves = [margin(run.metric, teacher.ended, rows) for teacher in changed]
    small = sum(
        half is not None and abs(teacher.change or 0.0) < half for teacher, half in zip(changed, halves, strict=True)
    )
    if not small:
        return []
    than = f"smaller than chance moves an accuracy on {rows:,} rows"
    if len(changed) == 1:
        return [f"That change is {than}."]
    return [f"{'All' if small == len(changed) else small} of these changes {'is' if small == 1 else 'are'} {than}."]


def _signal(data: FeedbackData) -> str:
    """With g = s + n, noise n of each batch its own, the mean cosine of two g is about |s|² / (|s|² + |n|²)."""
    cosine = data.cosine_quiz
    if cosine is None:
        return ""
    sentence = (
        f"The gradients of two independent quiz batches for the same teacher had a mean cosine of {cosine:.2f} "
        "(1: they agree, 0: unrelated), so "
    )
    if cosine < NO_SIGNAL:
        sentence += "almost all of such a gradient was noise, and the teachers' weights moved almost at random."
    else:
        sentence += (
            f"about {share(cosine)} of such a gradient's squared length was signal, the rest noise of the batch."
        )
    return " ".join(part for part in (sentence, _agreement(data)) if part)


def _agreement(data: FeedbackData) -> str:
    """Of successive rounds: a gradient that changes its direction from round to round takes a teacher nowhere."""
    cosines = [value for teacher in data.teachers for value in teacher.state.cosine_last.y]
    if not cosines:
        return ""
    mean = fmean(cosines)
    sentence = f"Between a round and the one measured before it the mean cosine was {mean:.2f}"
    return f"{sentence}: successive rounds did not agree." if mean < NO_SIGNAL else f"{sentence}."


def _scale(data: FeedbackData) -> str:
    """What configured weights and rates do not show: a term without an effect, steps that all have the same length."""
    sentences = []
    for teacher in data.teachers[:MOST_SENTENCES]:
        # The gradient of the reference term is none where the teacher has not moved.
        norms = {term: norm for term, norm in teacher.state.mean_norms.items() if term != "reference" and norm > 0}
        longest = max(norms, key=lambda term: norms[term], default="")
        sentences += [
            f"The gradient of {teacher.name}'s term `{TERMS[longest]}` was on average {norms[longest] / norm:,.0f} "
            f"times as long as that of `{TERMS[term]}`, which had almost no effect: `feedback.weight` balances them."
            for term, norm in norms.items()
            if norms[longest] / norm >= NEGLIGIBLE
        ]
    if data.clip and data.clipped is not None and data.clipped >= MOSTLY:
        sentences.append(
            f"In {share(data.clipped)} of the teachers' steps the gradient was longer than `teacher_max_grad_norm` "
            f"({data.clip:g}) and was clipped: under SGD those steps all have the same length, set by the learning "
            "rate, whatever the gradient."
        )
    return " ".join(sentences)


def _cost(run: Run, data: FeedbackData) -> str:
    part = (
        f", {share(data.seconds / run.result.seconds)} of the run's time" if run.result and run.result.seconds else ""
    )
    each = f" ({size(data.wire_bytes / data.rounds)} a round)" if data.rounds and data.wire_bytes else ""
    return f"Feedback took {duration(data.seconds)}{part}; {size(data.wire_bytes)} were sent to the teachers{each}."


def _table(run: Run, data: FeedbackData) -> Table:
    """Values before and after, and the gradient norm of each term, whose scales matter beside each other."""
    norms = [term for term in TERMS if any(term in teacher.state.mean_norms for teacher in data.teachers)]
    titles = ["Teacher", f"{short_name(run.metric)}, before → {'after' if data.result else 'now'}"]
    titles += ["change", "versions", "drift", "cosine", *(f"‖g‖ {TERMS[term]}" for term in norms)]
    rows = []
    for teacher in data.teachers:
        means, cosine = teacher.state.mean_norms, teacher.state.cosine_quiz.mean
        cells = [teacher.name, f"{number(teacher.began)} → {number(teacher.ended)}", difference(teacher.change)]
        cells.append("-" if teacher.versions is None else f"{teacher.versions:,}")
        cells.append("-" if teacher.drift is None else percent(teacher.drift))
        cells.append("-" if cosine is None else f"{cosine:.2f}")
        rows.append(Row(cells + [f"{means[term]:.2g}" if term in means else "-" for term in norms]))
    return Table.of(titles, rows, text=(0,))

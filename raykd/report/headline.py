"""The top of a run's page: what the student reached in a sentence, the gap as a line, the key numbers as tiles."""

from __future__ import annotations

from raykd.display.durations import duration
from raykd.display.text import caution, count, difference, layers, metric_name, number, reached, share, verdict
from raykd.records.run_result import RunResult
from raykd.report.run_files import Run
from raykd.report.views import Headline, Mark, Meter, Tile


def headline(run: Run) -> Headline:
    """What the student reached, what the teachers added, and how sure that is."""
    if run.result is None:
        return Headline(_unfinished(run))
    result = run.result
    return Headline(f"{reached(result)} {verdict(result).sentence}", caution(result), _meter(result))


def _unfinished(run: Run) -> str:
    student = run.state.student
    sentences = ["This run is not finished; the page shows it so far."]
    if student.step:
        step = f"The student is at step {student.step:,}" + (f" of {student.steps:,}" if student.steps else "")
        best = "" if student.best is None else f"; its best {metric_name(student.metric)} is {number(student.best)}"
        sentences.append(f"{step}{best}.")
    elif run.state.phase:
        sentences.append(f"Its last phase: {run.state.phase}.")
    return " ".join([*sentences, "`raykd distill` with the same output folder resumes it."])


def _meter(result: RunResult) -> Meter | None:
    """Alone, student and teacher on one line; None where one of them is not known or all are equal."""
    alone, student, teacher = result.gap.alone, result.gap.student, result.gap.teacher
    if alone is None or student is None or teacher is None or alone == student == teacher:
        return None
    low, high = min(alone, student, teacher), max(alone, student, teacher)
    marks = [
        Mark(kind, title, number(value), 100 * (value - low) / (high - low))
        for kind, title, value in (
            ("alone", "student alone", alone),
            ("teacher", "best teacher", teacher),
            ("student", "distilled student", student),
        )
    ]
    left, right = sorted((marks[0].place, marks[2].place))
    return Meter(marks, left, right - left)


def tiles(run: Run) -> list[Tile]:
    """The key numbers, of an unfinished run those so far."""
    result = run.result
    if result is None:
        return _tiles_so_far(run)
    efficiency, teachers = result.efficiency, result.teachers
    computed, reused = (
        sum(getattr(teacher, rows) for teacher in teachers) for rows in ("rows_computed", "rows_reused")
    )
    return [
        _value_tile(result),
        *_gap_tile(result),
        _size_tile(result),
        Tile(
            "samples/s in training",
            f"{efficiency.samples_per_s:,.0f}",
            f"{share(efficiency.ratio)} of the same student reading no teacher",
        ),
        Tile("teacher rows computed", f"{computed:,}", f"{reused:,} read from the cache"),
        Tile("total time", duration(result.seconds), f"seed {result.seed}"),
    ]


def _tiles_so_far(run: Run) -> list[Tile]:
    student = run.state.student
    shown = [Tile("last phase", run.state.phase)] if run.state.phase else []
    if student.step:
        shown.append(Tile("step", f"{student.step:,}", f"of {student.steps:,}, {student.epochs:g} epochs"))
    if student.best is not None:
        best = f"at step {student.best_step:,}"
        shown.append(Tile(f"best {metric_name(student.metric)}", number(student.best), best))
    return shown


def _value_tile(result: RunResult) -> Tile:
    title, best = f"student, {metric_name(result.metric)}", f"best at step {result.best_step:,} of {result.steps:,}"
    if result.reported_split == "validation":
        return Tile(title, number(result.value), best)
    note = f"{number(result.value)} on validation, {best}"
    return Tile(f"{title} on test", number(result.reported_value(result)), note)


def _gap_tile(result: RunResult) -> list[Tile]:
    gap = result.gap
    if gap.alone is None or gap.student is None:
        return []
    change = difference(gap.student - gap.alone)
    if gap.closed is None or gap.closed < 0:
        return [Tile("against the student alone", change, f"which reached {number(gap.alone)}")]
    return [Tile("of the gap closed", share(gap.closed), f"{change} against the student alone")]


def _size_tile(result: RunResult) -> Tile:
    student = result.student
    largest = max((teacher.parameters or 0 for teacher in result.teachers), default=0)
    ratio = f"its largest teacher has {largest / student.parameters:.1f} times as many" if largest else ""
    shape = layers(student.layers, student.hidden_size)
    return Tile("parameters", count(student.parameters), "; ".join(part for part in (shape, ratio) if part))

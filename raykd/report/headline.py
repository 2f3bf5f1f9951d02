"""The top of the page: what the student reached in a sentence, the gap as a line, the key numbers as tiles."""

from __future__ import annotations

from raykd.display.text import METRICS, caution, count, difference, layers, number, reached, share, verdict
from raykd.records.durations import duration
from raykd.report.html import NOTHING, Html, join, prose, tag
from raykd.report.run_files import Result, Run


def headline(run: Run) -> Html:
    """What the student reached, what the teachers gave, and how sure that is."""
    if not run.result:
        return join([tag("p", prose(_unfinished(run)), class_="lead")])
    result = run.result
    sure = caution(result)
    return join(
        [
            tag("p", reached(result), " ", prose(verdict(result).sentence), class_="lead"),
            tag("p", sure, class_="small") if sure else NOTHING,
            _meter(result),
        ]
    )


def _unfinished(run: Run) -> str:
    at = run.student
    said = "This run is not finished; the page shows how far it has come."
    if at.step:
        said += f" The student is at step {at.step:,}" + (f" of {at.steps:,}" if at.steps else "")
        said += (
            f", with {number(at.best[1])} as its best {METRICS.get(at.metric, at.metric)} so far." if at.best else "."
        )
    elif run.phase:
        said += f" It was last busy with: {run.phase}."
    return f"{said} `raykd distill` on the same folder goes on where it stopped."


def _meter(result: Result) -> Html:
    """Alone, student and teacher on one line."""
    gap = result.get("gap", {})
    values = {name: gap.get(name) for name in ("alone", "student", "teacher")}
    if any(value is None for value in values.values()) or len(set(values.values())) == 1:
        return NOTHING
    low, high = min(values.values()), max(values.values())
    at = {name: 100 * (value - low) / (high - low) for name, value in values.items()}
    left, right = sorted((at["alone"], at["student"]))
    named = {"alone": "student alone", "student": "distilled student", "teacher": "best teacher"}
    return tag(
        "div",
        tag(
            "div",
            tag("div", class_="fill", style=f"left:{left:.2f}%;width:{right - left:.2f}%"),
            *(
                tag("div", class_=f"mark {name}", style=f"left:{at[name]:.2f}%")
                for name in ("alone", "teacher", "student")
            ),
            class_="track",
        ),
        tag(
            "div",
            *(tag("span", f"{named[k]} ", tag("b", number(values[k])), class_=f"key {k}") for k in at),
            class_="keys",
        ),
        class_="meter",
    )


def tiles(run: Run) -> Html:
    """The key numbers."""
    if not run.result:
        so_far = [tile(*one) for one in _so_far(run)]
        return tag("div", *so_far, class_="tiles") if so_far else NOTHING
    made = [_value_tile(run.result), _gap_tile(run.result), _size_tile(run.result), _speed_tile(run.result)]
    made += [_rows_tile(run.result), _time_tile(run.result)]
    return tag("div", *(tile(*one) for one in made if one is not None), class_="tiles")


def _so_far(run: Run) -> list[tuple[str, str, str]]:
    at = run.student
    made = [("last phase", run.phase, "")] if run.phase else []
    if at.step:
        made.append(("step", f"{at.step:,}", f"of {at.steps:,}, {at.epochs:g} epochs"))
    if at.best:
        made.append((f"best {METRICS.get(at.metric, at.metric)}", number(at.best[1]), f"at step {at.best[0]:,}"))
    return made


def tile(what: str, value: str, note: str) -> Html:
    """A number with its name above and a note below."""
    return tag(
        "div",
        tag("p", what, class_="what"),
        tag("p", value, class_="value"),
        tag("p", note, class_="note"),
        class_="tile",
    )


def _value_tile(result: Result) -> tuple[str, str, str]:
    name = METRICS.get(result.get("metric", ""), result.get("metric", "value"))
    at = (
        f"best at step {result['best_step']:,} of {result.get('steps', 0):,}" if "best_step" in result else "validation"
    )
    return f"student, {name}", number(result.get("value")), at


def _gap_tile(result: Result) -> tuple[str, str, str] | None:
    gap = result.get("gap", {})
    if gap.get("alone") is None or gap.get("student") is None:
        return None
    change = gap["student"] - gap["alone"]
    if gap.get("closed") is None or gap["closed"] < 0:
        return "against the student alone", difference(change), f"which reached {number(gap['alone'])}"
    return "of the gap closed", share(gap["closed"]), f"{difference(change)} against the student alone"


def _size_tile(result: Result) -> tuple[str, str, str] | None:
    student = result.get("student", {})
    size = student.get("parameters")
    if size is None:
        return None
    largest = max((one.get("parameters") or 0 for one in result.get("teachers", [])), default=0)
    smaller = f"its largest teacher has {largest / size:.1f} times as many" if largest else ""
    return "parameters", count(size), "; ".join(part for part in (layers(student), smaller) if part)


def _speed_tile(result: Result) -> tuple[str, str, str] | None:
    measured = result.get("efficiency", {})
    if measured.get("samples_per_s") is None:
        return None
    ratio = measured.get("ratio")
    note = "" if ratio is None else f"{share(ratio)} of the same student reading no teacher"
    return "samples/s in training", f"{measured['samples_per_s']:,.0f}", note


def _rows_tile(result: Result) -> tuple[str, str, str] | None:
    teachers = result.get("teachers", [])
    if not teachers:
        return None
    computed, reused = (sum(one.get(key) or 0 for one in teachers) for key in ("rows_computed", "rows_reused"))
    return "teacher rows computed", f"{computed:,}", f"{reused:,} reused from earlier runs"


def _time_tile(result: Result) -> tuple[str, str, str] | None:
    seconds = result.get("seconds")
    return None if seconds is None else ("in all", duration(seconds), f"seed {result.get('seed', '-')}")

"""What teachers learnt from their student, folded from a run's result and the events of its log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from raykd.display.text import number
from raykd.records.log import Event
from raykd.report.curves import Series
from raykd.report.run_files import Run, section_type, setting

NORMS = {"feedback": "feedback", "ce": "own labels", "kd": "student", "anchor": "anchor"}


@dataclass(frozen=True)
class TrainedTeacher:
    """One teacher that learns; values are None where neither result nor log has them."""

    name: str
    scores: Series  # its metric on validation
    drift: Series  # ‖θ − θ₀‖ / ‖θ₀‖
    cosine_quiz: Series
    cosine_last: Series
    norms: dict[str, float]  # mean gradient norm of each term, by the keys of NORMS
    versions: int | None
    began: float | None
    ended: float | None
    drifted: float | None
    verdict: str  # better, worse or same; empty where it is not known


@dataclass(frozen=True)
class FeedbackData:
    """The feedback of a whole run, or of an unfinished one so far."""

    finished: bool
    kind: str  # metadistil or ikd
    asked: bool  # whether the student is heard at all: ω above 0
    route: str
    route_reason: str
    surrogate: str
    split: str
    rounds: int
    quiz_before: float | None
    quiz_after: float | None
    cosine_quiz: float | None
    seconds: float | None
    wire_bytes: float | None
    before: Series
    after: Series
    gain: Series  # quiz loss before less after: what the step gave
    clip: float | None
    clipped: float | None  # share of the teachers' steps whose gradient was longer
    teachers: list[TrainedTeacher]

    @property
    def ikd(self) -> bool:
        return self.kind == "ikd"

    @classmethod
    def of(cls, run: Run) -> FeedbackData | None:
        """None for a run whose teachers stay as they are, or have not begun to learn."""
        said: dict[str, Any] = run.result.get("feedback") or {}
        rounds = [event for event in run.events if event["event"] == "feedback" and "step" in event]
        evals = [event for event in run.events if event["event"] == "teacher_eval" and "step" in event]
        if not (said or rounds or evals):
            return None
        teachers = [_taught(run, name, rounds, evals) for name in _names(said, evals, rounds)]
        before, after = _series(rounds, "quiz_before"), _series(rounds, "quiz_after")
        known = dict(zip(before.x, before.y, strict=True))
        gain = Series.of((x, known[x] - y) for x, y in zip(after.x, after.y, strict=True) if x in known)
        cosines = [value for one in teachers for value in one.cosine_quiz.y]
        versions = max((one.versions or 0 for one in teachers), default=0)
        return cls(
            bool(run.result),
            str(said.get("type") or section_type(run.config, "feedback")),
            setting(run.config, "feedback", "weight") != 0,
            str(said.get("route") or ""),
            str(said.get("route_reason") or ""),
            str(said.get("surrogate") or ""),
            str(said.get("split") or ""),
            int(said.get("rounds") or max(versions, len(rounds))),
            _or_mean(said.get("quiz_before"), before.y),
            _or_mean(said.get("quiz_after"), after.y),
            _or_mean(said.get("cosine_quiz"), cosines),
            said.get("seconds", _total(rounds, "seconds")),
            said.get("wire_bytes", _total(rounds, "wire_bytes")),
            before,
            after,
            gain,
            *_clipping(run, rounds),
            teachers,
        )


def _taught(run: Run, name: str, rounds: list[Event], evals: list[Event]) -> TrainedTeacher:
    said: dict[str, Any] = ((run.result.get("feedback") or {}).get("teachers") or {}).get(name) or {}

    def own(event: Event) -> dict[str, Any]:
        return (event.get("teachers") or {}).get(name) or {}

    scores = Series.of((event["step"], (own(event).get("scores") or {}).get(run.metric)) for event in evals)
    drift = Series.of((event["step"], own(event).get("drift")) for event in evals)
    cosines = {
        key: Series.of((event["step"], own(event)[key]) for event in rounds if key in own(event))
        for key in ("cosine_quiz", "cosine_last")
    }
    norms = {key: [own(event).get(f"norm_{key}") for event in rounds] for key in NORMS}
    means = {key: _or_mean(None, [one for one in values if one is not None]) for key, values in norms.items()}
    versions = [int(own(event)["version"]) for event in (*rounds, *evals) if own(event).get("version") is not None]
    first, last = (scores.y[0], scores.y[-1]) if scores else (None, None)
    began = (said.get("began") or {}).get(run.metric, first)
    ended = (said.get("ended") or {}).get(run.metric, last)
    return TrainedTeacher(
        name,
        scores,
        drift,
        cosines["cosine_quiz"],
        cosines["cosine_last"],
        {key: mean for key, mean in means.items() if mean is not None},
        said.get("versions", max(versions, default=None)),
        began,
        ended,
        said.get("drift", drift.y[-1] if drift else None),
        str(said.get("verdict") or _verdict(began, ended)),
    )


def _clipping(run: Run, rounds: list[Event]) -> tuple[float | None, float | None]:
    clip = setting(run.config, "feedback", "teacher_max_grad_norm")
    told = [one for event in rounds for one in (event.get("teachers") or {}).values()]
    norms = [one["grad_norm"] for one in told if one.get("grad_norm") is not None]
    return clip, fmean(norm > clip for norm in norms) if clip and norms else None


def _names(said: dict[str, Any], *events: list[Event]) -> list[str]:
    found = [name for some in events for event in some for name in event.get("teachers") or {}]
    return list(dict.fromkeys([*(said.get("teachers") or {}), *found]))


def _series(events: list[Event], key: str) -> Series:
    return Series.of((event["step"], event.get(key)) for event in events)


def _total(events: list[Event], key: str) -> float | None:
    known = [event[key] for event in events if event.get(key) is not None]
    return sum(known) if known else None


def _or_mean(value: float | None, values: Iterable[float]) -> float | None:
    """The value that the result gives, else the mean of the log's."""
    values = list(values)
    return value if value is not None or not values else fmean(values)


def _verdict(began: float | None, ended: float | None) -> str:
    if began is None or ended is None:
        return ""
    return "same" if number(began) == number(ended) else "better" if ended > began else "worse"

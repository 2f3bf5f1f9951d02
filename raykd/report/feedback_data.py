"""The feedback of a run as its section shows it: the result where there is one, else the fold of the log so far."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from raykd.display.verdict import Verdict, verdict
from raykd.records.feedback_state import FeedbackState, TrainedTeacherState
from raykd.records.run_result import FeedbackResult
from raykd.report.run_files import Run


@dataclass(frozen=True)
class TrainedTeacher:
    """One teacher under feedback.

    Attributes:
        state: its curves, from the log.
        began, ended: the run's metric on validation, before the first round and after the last.
        drift: ‖θ − θ₀‖ / ‖θ₀‖.
        verdict: None where one of the two values is not known.
    """

    name: str
    state: TrainedTeacherState
    versions: int | None
    began: float | None
    ended: float | None
    drift: float | None

    @property
    def verdict(self) -> Verdict | None:
        """Whether it ended better, at the precision that is shown."""
        return verdict(self.began, self.ended)

    @property
    def change(self) -> float | None:
        """What it ended with less what it began with."""
        return None if self.began is None or self.ended is None else self.ended - self.began


@dataclass(frozen=True)
class FeedbackData:
    """The feedback of a whole run, or of an unfinished one so far.

    Attributes:
        result: None while the run is not finished.
        type: metadistil or ikd.
        pilot: the student tries its step on a copy first.
        from_student: False where `feedback.weight` is 0 and the teachers train on the other terms alone.
        quiz_before, quiz_after, cosine_quiz: means over the measured rounds.
        clip: `feedback.teacher_max_grad_norm`.
        clipped: share of the teachers' steps whose gradient was longer than that.
    """

    result: FeedbackResult | None
    state: FeedbackState
    type: str
    pilot: bool
    from_student: bool
    rounds: int
    quiz_before: float | None
    quiz_after: float | None
    cosine_quiz: float | None
    seconds: float
    wire_bytes: int
    clip: float | None
    clipped: float | None
    teachers: list[TrainedTeacher]

    @classmethod
    def of(cls, run: Run) -> FeedbackData | None:
        """None for a run whose teachers are frozen, or before its first round."""
        result = run.result.feedback if run.result else None
        state = run.state.student.feedback
        if result is None and state is None:
            return None
        state = state or FeedbackState()
        cosines = [value for teacher in state.teachers.values() for value in teacher.cosine_quiz.y]
        clip = run.setting("feedback", "teacher_max_grad_norm")
        norms = [norm for teacher in state.teachers.values() for norm in teacher.grad_norm.y]
        kind = result.type if result else str(run.setting("feedback", "type") or "")
        return cls(
            result,
            state,
            kind,
            kind == "metadistil" and run.setting("feedback", "rollback") is not False,
            run.setting("feedback", "weight") != 0,
            result.rounds if result else state.rounds,
            result.quiz_before if result else state.before.mean,
            result.quiz_after if result else state.after.mean,
            result.cosine_quiz if result else fmean(cosines) if cosines else None,
            result.seconds if result else state.seconds,
            result.wire_bytes if result else state.wire_bytes,
            clip,
            fmean(norm > clip for norm in norms) if clip and norms else None,
            _teachers(run.metric, result, state),
        )


def _teachers(metric: str, result: FeedbackResult | None, state: FeedbackState) -> list[TrainedTeacher]:
    if result is None:
        return [
            TrainedTeacher(
                name, curves, curves.version, curves.value(metric).first, curves.value(metric).last, curves.drift.last
            )
            for name, curves in state.teachers.items()
        ]
    return [
        TrainedTeacher(
            name,
            state.teachers.get(name, TrainedTeacherState()),
            trained.versions,
            trained.began.get(metric),
            trained.ended.get(metric),
            trained.drift,
        )
        for name, trained in result.teachers.items()
    ]

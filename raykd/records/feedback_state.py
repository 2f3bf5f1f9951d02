"""What teachers learn from one student under feedback, and what a policy chooses for it, folded from its log."""

from __future__ import annotations

from dataclasses import dataclass, field

from raykd.records.events import FeedbackEvent, PolicyEvent, Scores, TeacherEvalEvent, TeacherStep
from raykd.records.series import Series

TERMS = ("feedback", "ce", "kd", "reference")
"""The terms of a teacher's loss, whose gradient norms `TeacherStep` has as `norm_TERM`."""


@dataclass
class TrainedTeacherState:
    """One teacher under feedback.

    Attributes:
        version: number of its optimizer steps so far.
        scores: on validation, by metric; see `value`.
        drift: ‖θ − θ₀‖ / ‖θ₀‖.
        grad_norm: of the whole gradient before clipping, at each round.
        norms: gradient norm of each of TERMS that was measured; its mean is what a page shows.
        cosine_quiz, cosine_last: see `events.TeacherStep`.
    """

    version: int | None = None
    scores: dict[str, Series] = field(default_factory=dict)
    drift: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    norms: dict[str, Series] = field(default_factory=dict)
    cosine_quiz: Series = field(default_factory=Series)
    cosine_last: Series = field(default_factory=Series)

    def value(self, metric: str) -> Series:
        """A metric on validation over the student's steps: `first` is where the teacher began, `last` where it is."""
        return self.scores.get(metric, Series())

    @property
    def mean_norms(self) -> dict[str, float]:
        """By term, the mean gradient norm over the measured rounds, in the order of TERMS."""
        means = {term: self.norms[term].mean for term in TERMS if term in self.norms}
        return {term: mean for term, mean in means.items() if mean is not None}

    def stepped(self, step: int, measured: TeacherStep) -> None:
        """Applies one optimizer step of the teacher, made at the student's `step`."""
        self.version = measured.version
        self.grad_norm.add(step, measured.grad_norm)
        self.cosine_quiz.add(step, measured.cosine_quiz)
        self.cosine_last.add(step, measured.cosine_last)
        norms = (measured.norm_feedback, measured.norm_ce, measured.norm_kd, measured.norm_reference)
        for term, norm in zip(TERMS, norms, strict=True):
            if norm is not None:
                self.norms.setdefault(term, Series()).add(step, norm)

    def evaluated(self, step: int, version: int, scores: Scores, drift: float | None) -> None:
        """Applies an evaluation on the validation rows."""
        self.version = version
        self.drift.add(step, drift)
        for metric, value in scores.items():
            self.scores.setdefault(metric, Series()).add(step, value)


@dataclass
class FeedbackState:
    """The feedback from one student.

    Attributes:
        rounds: of feedback so far.
        quiz_before, quiz_after: the last round's quiz loss before and after the student's step; None: not measured.
        before, after: the same over the steps; the gain of a round is `before.minus(after)`.
        seconds: of all rounds.
        wire_bytes: sent so far.
        teachers: by name.
    """

    rounds: int = 0
    quiz_before: float | None = None
    quiz_after: float | None = None
    before: Series = field(default_factory=Series)
    after: Series = field(default_factory=Series)
    seconds: float = 0.0
    wire_bytes: int = 0
    teachers: dict[str, TrainedTeacherState] = field(default_factory=dict)

    def apply(self, event: FeedbackEvent | TeacherEvalEvent) -> None:
        """Takes in one event of the student's log."""
        if isinstance(event, TeacherEvalEvent):
            for name, scored in event.teachers.items():
                self._teacher(name).evaluated(event.step, scored.version, scored.scores, scored.drift)
            return
        self.rounds += 1
        self.quiz_before, self.quiz_after = event.quiz_before, event.quiz_after
        self.before.add(event.step, event.quiz_before)
        self.after.add(event.step, event.quiz_after)
        self.seconds += event.seconds
        self.wire_bytes = event.wire_bytes
        for name, measured in event.teachers.items():
            self._teacher(name).stepped(event.step, measured)

    def _teacher(self, name: str) -> TrainedTeacherState:
        return self.teachers.setdefault(name, TrainedTeacherState())


@dataclass
class PolicyState:
    """The policy that weights the teachers of one student.

    Attributes:
        updates: the policy's version, which is the number of its updates.
        share: by teacher, the mean π over the rows of an update.
        entropy: in nats, over the steps.
        reward: mean over the rows of an update.
    """

    updates: int = 0
    share: dict[str, Series] = field(default_factory=dict)
    entropy: Series = field(default_factory=Series)
    reward: Series = field(default_factory=Series)

    @property
    def newest(self) -> dict[str, float]:
        """By teacher its share in the last update."""
        return {name: series.last for name, series in self.share.items() if series.last is not None}

    def apply(self, event: PolicyEvent) -> None:
        """Adds one update of the policy to the series."""
        self.updates = event.version
        self.entropy.add(event.step, event.entropy)
        self.reward.add(event.step, event.reward)
        for name, value in event.share.items():
            self.share.setdefault(name, Series()).add(event.step, value)

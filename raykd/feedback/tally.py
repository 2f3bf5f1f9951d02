"""What a feedback counts for the result: rounds, seconds, bytes, quiz losses, the teachers before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raykd.records.events import Scores, TeacherScores, TeacherStep
from raykd.records.run_result import TrainedTeacherResult

FILE = "feedback.json"


@dataclass
class FeedbackTally:
    """Part of a checkpoint.

    Attributes:
        rounds, seconds, wire_bytes: of this worker; all others are those of worker 0 and empty elsewhere.
        quiz_before, quiz_after, cosines: one for each round, or teacher's step, that was measured.
        began, ended, drift, versions: by teacher's name.
    """

    rounds: int = 0
    seconds: float = 0.0
    wire_bytes: int = 0
    quiz_before: list[float] = field(default_factory=list)
    quiz_after: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    began: dict[str, Scores] = field(default_factory=dict)
    ended: dict[str, Scores] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def count_round(self, seconds: float, wire_bytes: int) -> None:
        """Counts a round.

        Args:
            wire_bytes: of all rounds so far.
        """
        self.rounds, self.seconds, self.wire_bytes = self.rounds + 1, self.seconds + seconds, wire_bytes

    def measured(self, quiz: Mapping[str, float], steps: Mapping[str, TeacherStep]) -> None:
        """Takes in a round's quiz losses `before` and `after`, where it has both, and the teachers' steps by name."""
        if "before" in quiz:
            self.quiz_before.append(quiz["before"])
            self.quiz_after.append(quiz["after"])
        self.cosines += [step.cosine_quiz for step in steps.values() if step.cosine_quiz is not None]
        self.versions = {name: step.version for name, step in steps.items()}

    def scored(self, scores: dict[str, Scores], drift: dict[str, float]) -> dict[str, TeacherScores]:
        """Takes in the teachers' scores and distances from where they began; returns them with their versions."""
        self.began = self.began or scores
        self.ended, self.drift = scores, drift
        return {
            name: TeacherScores(version=self.versions.get(name, 0), scores=scores[name], drift=drift[name])
            for name in scores
        }

    def teacher(self, name: str, folder: str) -> TrainedTeacherResult:
        """A teacher's part of the result.

        Args:
            folder: its checkpoint, within the run's folder.
        """
        return TrainedTeacherResult(
            began=self.began.get(name, {}),
            ended=self.ended.get(name, {}),
            drift=self.drift.get(name),
            versions=self.versions.get(name, 0),
            folder=folder,
        )

    def summary(self) -> dict[str, Any]:
        """The fields of a `FeedbackResult` that are counts and means."""
        return {
            "rounds": self.rounds,
            "seconds": self.seconds,
            "wire_bytes": self.wire_bytes,
            "quiz_before": _mean(self.quiz_before),
            "quiz_after": _mean(self.quiz_after),
            "cosine_quiz": _mean(self.cosines),
        }

    def save(self, folder: Path) -> None:
        """Writes it into a checkpoint's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FeedbackTally:
        """The tally that `save` has written into this folder."""
        return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None

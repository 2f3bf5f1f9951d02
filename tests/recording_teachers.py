"""What a feedback talks to, without Ray: teachers that write down what they are sent, a quiz of known rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from raykd.teachers.feedback.message import Key, TeacherFeedback


@dataclass
class RecordingTeachers:
    """Teachers that learn, as a feedback sees them: they keep the messages that they are sent."""

    trainable: dict[int, str]
    wire_bytes: int = 0
    messages: dict[Key, dict[int, TeacherFeedback]] = field(default_factory=dict)
    steps: list[bool] = field(default_factory=list)
    fresh_KNC: np.ndarray | None = None
    """What they answer once they have stepped."""

    def get(self, ids: np.ndarray) -> np.ndarray:
        assert self.fresh_KNC is not None
        return self.fresh_KNC[:, ids]

    def send(self, key: Key, messages: dict[int, TeacherFeedback]) -> None:
        assert key not in self.messages
        self.messages[key] = messages

    def step(self, measure: bool) -> dict[str, dict[str, float]]:
        self.steps.append(measure)
        return {}


@dataclass
class QuizRows:
    """As a sampler: for each number of a draw these rows and labels, whatever the step."""

    drawn: list[tuple[dict[str, torch.Tensor], torch.Tensor]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.drawn[0][1])

    def mine(self, step: int, draw: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        self.asked.append((step, draw))
        return self.drawn[draw]

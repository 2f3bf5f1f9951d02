"""No feedback: θ_T stays as it is."""

from __future__ import annotations

from raykd.feedback.base import Feedback


class NoFeedback(Feedback):
    """No feedback: the teachers stay as they were prepared."""

    def due(self, step: int) -> bool:
        """False: the teachers learn in no step."""
        return False

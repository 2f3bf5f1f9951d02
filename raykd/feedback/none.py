"""No feedback: θ_T stays as it is."""

from __future__ import annotations

from raykd.feedback.base import Feedback


class NoFeedback(Feedback):
    """Frozen teachers."""

    def due(self, step: int) -> bool:
        """Never."""
        return False

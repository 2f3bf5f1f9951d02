"""What crosses from student to teacher: one cotangent of the soft targets' size, and what else its losses ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TeacherFeedback:
    """The student's feedback on the logits that it was served for one micro-batch.

    Attributes:
        cotangent: c, [B, C].
        second: the same from an independent quiz batch, only to measure noise; no step uses it.
        student: the student's logits [B, C], where κ asks for them.
        reference: the frozen teacher's logits [B, C], where `teacher_reference_kl` needs them.
        global_rows: rows of the whole batch over workers and micro-batches.
    """

    cotangent: np.ndarray
    global_rows: int
    second: np.ndarray | None = None
    student: np.ndarray | None = None
    reference: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays on the wire."""
        return sum(
            part.nbytes for part in (self.cotangent, self.second, self.student, self.reference) if part is not None
        )


Key = tuple[int, int, int]
"""Step, worker, micro-batch."""

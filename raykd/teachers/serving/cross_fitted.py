"""Teachers' logits for the training rows, each from a copy that was not trained on the row."""

from __future__ import annotations

import numpy as np

from raykd.teachers.serving.client import TargetSource, TeacherClient


class CrossFitted:
    """Logits of teachers and of their copies, one a fold.

    Args:
        sources: of the teachers themselves, K.
        folds: of each teacher, the sources of its copies; each source's `wanted` are the rows that its copy has not
            seen. None where the teacher is taken as it is.
    """

    def __init__(self, sources: tuple[TargetSource, ...], folds: tuple[tuple[TargetSource, ...], ...]) -> None:
        self._plain = [TeacherClient(source) for source in sources]
        self._copies = [[TeacherClient(source) for source in of_teacher] for of_teacher in folds]

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Each teacher's logits for these rows, [K, len(ids), C]."""
        return np.stack([self._of(k, ids) for k in range(len(self._plain))])

    def _of(self, k: int, ids: np.ndarray) -> np.ndarray:
        if not self._copies[k]:
            return self._plain[k].get(ids)
        teacher = self._plain[k].source.teacher
        logits = np.empty((len(ids), teacher.classes), teacher.wire)
        for client in self._copies[k]:
            unseen = np.isin(ids, client.source.wanted)
            logits[unseen] = client.get(ids[unseen])
        return logits

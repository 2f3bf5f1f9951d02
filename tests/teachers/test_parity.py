"""Two processes with one teacher: which differences of their logits are rounding, and which end the run."""

from __future__ import annotations

import numpy as np
import pytest

from raykd.errors import TeacherError
from raykd.teachers.serving.parity import TOLERANCE, compare
from raykd.teachers.teacher_model import TeacherModel


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_a_difference_beyond_rounding_is_refused(dtype: str) -> None:
    teacher = TeacherModel("t", "", (0, 1), ("a", "b"), 8, dtype, "", "", parameters=1)
    expected = np.array([[1.0, -4.0], [0.5, 2.0]])
    close, apart = (expected + np.array([[0, 0], [0, 4 * share * TOLERANCE[dtype]]]) for share in (0.9, 1.1))
    assert compare(teacher, close, expected, "one") == pytest.approx(0.9 * TOLERANCE[dtype], rel=1e-4)
    with pytest.raises(TeacherError, match=r"teacher t: the copy differs by .* of the largest logit"):
        compare(teacher, apart, expected, "the copy differs")
    assert compare(teacher, expected[:0], expected[:0], "nothing") == 0

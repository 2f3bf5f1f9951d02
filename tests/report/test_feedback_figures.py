"""The pictures of feedback: teachers over steps, cosines, quiz losses."""

from __future__ import annotations

import pytest
from reading import LONG, assert_readable, series, text_in

from raykd.records.series import Series
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.feedback_figures import cosines, quiz_losses, teachers_over_steps


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("points", [1, 2, 300])
@pytest.mark.parametrize("teachers", [1, 3, 8])
def test_pictures_are_readable(theme: Theme, points: int, teachers: int) -> None:
    named = {f"{LONG} {k}": series(0.2 + 1e-4 * k, points) for k in range(teachers)}
    assert_readable(teachers_over_steps(named, named, "accuracy", theme))
    assert_readable(cosines(named, named, theme))
    assert_readable(quiz_losses(series(0.4, points), series(0.39, points), series(0.01, points), theme=theme))


def test_pictures_of_what_is_known() -> None:
    rising, constant = {"t": series(0.8)}, Series.of((k, 0.0) for k in range(3))
    for figure in (
        teachers_over_steps(rising, {}, "accuracy"),
        teachers_over_steps({}, {"t": constant}, "pearson"),
        cosines(rising, {}),
        cosines({"t": constant}, {"t": constant}),
        quiz_losses(Series(), series(0.4), Series()),
        quiz_losses(constant, constant, constant),
    ):
        assert_readable(figure)
    both = quiz_losses(series(0.4), series(0.39), series(0.01))
    assert {"before the step", "after the step"} <= set(text_in(both).splitlines())
    assert len(both.axes) == 2  # one axis a panel, never a twin

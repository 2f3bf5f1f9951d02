"""The view without a terminal: what is shown of each event, and of logs that lack some."""

import pytest
from logged import evaluation, feedback, plan, policy, step, targets, teacher_evaluation, view

from raykd.display.durations import clock, duration
from raykd.records.events import FeedbackEvent, PhaseEvent
from raykd.records.run_state import STUDENT, RunState


def test_feedback_that_lacks_something_or_has_many_teachers_still_fits() -> None:
    state = RunState()
    state.apply(STUDENT, plan(time=1.0))
    state.apply(STUDENT, step(1, time=2.0))
    assert "quiz" not in view(state)
    state.apply(STUDENT, feedback(1, quiz_after=0.5))
    assert "quiz loss 0.5000 · bert-a v1" in view(state)
    state.apply(STUDENT, FeedbackEvent(step=2, epoch=0.08, teachers={}, seconds=0.1, wire_bytes=0))
    assert "quiz" not in view(state)
    names = tuple(f"bert-with-a-long-name-{k}" for k in range(5))
    state.apply(STUDENT, feedback(3, names, quiz_before=0.6, quiz_after=0.5))
    state.apply(STUDENT, teacher_evaluation(3, 0.9, names))
    text = view(state, width=60)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "3 more" in " ".join(text.split())


def test_a_teacher_that_is_ready_leaves_the_view() -> None:
    state = RunState()
    state.apply("teacher a", plan(time=1.0))
    state.apply("teacher a", step(40, time=2.0))
    assert "teacher a" in view(state)
    state.apply("teacher a", step(100, time=3.0))
    assert "teacher a" not in view(state)


def test_training_that_stopped_early_is_done_when_the_next_phase_begins() -> None:
    state = RunState()
    state.apply(STUDENT, plan(time=1.0))
    state.apply(STUDENT, step(40, loss=None, time=2.0))
    assert not state.training[STUDENT].done
    assert "epoch 2 of 4" in view(state)
    state.apply(STUDENT, PhaseEvent(phase="baseline alone", time=3.0))
    assert state.training[STUDENT].done
    assert "epoch" not in view(state)


def test_bars_show_how_much_is_done() -> None:
    state = RunState()
    state.apply(STUDENT, targets(200, 800, time=1.0))
    quarter = view(state)
    assert "200 of 800 rows" in quarter
    state.apply(STUDENT, targets(800, 800, time=3.0))
    whole = view(state)
    assert "800 of 800 rows" in whole
    assert 0.2 < quarter.count("━") / whole.count("━") < 0.3


def test_names_are_shown_as_they_are_written() -> None:
    """rich would read `[bold]` as markup."""
    state = RunState()
    state.apply(STUDENT, targets(1, 2, teacher="a[bold]b", time=1.0))
    assert "a[bold]b" in view(state)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_narrow_or_plain_terminal_is_enough(encoding: str) -> None:
    state = RunState()
    for k in range(9):
        state.apply(STUDENT, PhaseEvent(phase=f"teachers: fine-tune number-{k}", time=float(k)))
    state.apply(STUDENT, targets(1, 2, teacher="a-very-long-name-of-a-teacher", time=9))
    state.apply(STUDENT, plan(time=10.0))
    state.apply(STUDENT, step(40, time=11.0))
    state.apply(STUDENT, policy(40, {"a": 0.25, "b": 0.75}))
    state.apply(STUDENT, evaluation(40, 0.75, time=12.0))
    text = view(state, width=60, encoding=encoding)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "1 of 2 rows" in text
    assert "2 earlier" in text
    assert "step 40 of 100" in text


def test_durations_read_well() -> None:
    assert [clock(s) for s in (-1, 0.4, 59.6, 3599, 3723)] == ["0:00", "0:00", "1:00", "59:59", "1:02:03"]
    assert [duration(s) for s in (0.42, 9.96, 59.7, 125, 4800)] == [
        "0.4 s",
        "10 s",
        "1 min 0 s",
        "2 min 5 s",
        "1 h 20 min",
    ]

"""State and board without a terminal: what is shown of each event, and of logs that lack some."""

import pytest
from logged import PLAN, board, lesson, taught

from raykd.records.durations import clock, duration
from raykd.records.run_state import STUDENT, RunState


def test_lessons_that_lack_something_or_are_many_still_fit() -> None:
    state = RunState()
    state.apply(STUDENT, {"event": "plan", "time": 1.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 1, "epoch": 0.04, "time": 2.0})
    assert "quiz" not in board(state)
    state.apply(STUDENT, lesson(1, quiz_after=0.5))
    assert "quiz loss 0.5000 · bert-a v1" in board(state)
    state.apply(STUDENT, lesson(2, quiz_after=None) | {"teachers": None})
    assert "quiz" not in board(state)
    names = [f"bert-with-a-long-name-{k}" for k in range(5)]
    state.apply(STUDENT, lesson(3, quiz_before=0.6, quiz_after=0.5) | {"teachers": {n: taught(3, 0.9) for n in names}})
    text = board(state, width=60)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "3 more" in " ".join(text.split())


def test_teachers_measured_after_the_training_do_not_begin_it_again() -> None:
    state = RunState()
    state.apply(STUDENT, {"event": "plan", "time": 1.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 40, "epoch": 1.6, "time": 2.0})
    state.apply(STUDENT, {"event": "phase", "phase": "test", "time": 3.0})
    state.apply(STUDENT, {"event": "teacher_eval", "step": 40, "teachers": {"bert-a": taught(40, 0.9)}, "time": 4.0})
    assert state.training[STUDENT].done
    assert "bert-a v40 accuracy 0.9000" in board(state)


def test_the_time_left_follows_the_pace_of_this_session() -> None:
    state = RunState(since=1000.0)
    state.apply(STUDENT, {"event": "plan", "time": 1.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 10, "time": 2.0})
    state.apply(STUDENT, {"event": "plan", "time": 1000.0, **PLAN})
    one = state.training[STUDENT]
    state.apply(STUDENT, {"event": "step", "step": 20, "time": 1002.0})
    assert one.seconds_left(1002.0) is None
    state.apply(STUDENT, {"event": "step", "step": 40, "time": 1012.0})
    assert one.seconds_left(1012.0) == pytest.approx(60 * 0.5)
    assert one.seconds_left(1015.0) == pytest.approx(27.0)
    assert one.seconds_left(9999.0) == 0.0


def test_a_resumed_training_goes_on_without_a_new_plan() -> None:
    state = RunState(since=10.0)
    state.apply(STUDENT, {"event": "plan", "time": 1.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 40, "time": 2.0})
    state.apply(STUDENT, {"event": "phase", "phase": "student", "time": 11.0})
    assert state.training[STUDENT].done
    state.apply(STUDENT, {"event": "step", "step": 50, "time": 12.0})
    assert not state.training[STUDENT].done
    assert "step 50 of 100" in board(state)


def test_the_last_lines_of_a_baseline_do_not_bring_it_back() -> None:
    """Its log may be read after the run's own, where the next phase has begun already."""
    state = RunState()
    state.apply("baseline alone", {"event": "plan", "time": 1.0, **PLAN})
    state.apply("baseline alone", {"event": "step", "step": 40, "time": 2.0})
    state.apply(STUDENT, {"event": "phase", "phase": "student", "time": 4.0})
    state.apply("baseline alone", {"event": "eval", "step": 50, "scores": {"accuracy": 0.7}, "time": 3.0})
    assert state.training["baseline alone"].done


def test_a_teacher_that_is_ready_leaves_the_board() -> None:
    state = RunState()
    state.apply("teacher a", {"event": "plan", "time": 1.0, **PLAN})
    state.apply("teacher a", {"event": "step", "step": 40, "epoch": 1.6, "time": 2.0})
    assert "teacher a" in board(state)
    state.apply("teacher a", {"event": "step", "step": 100, "epoch": 4.0, "time": 3.0})
    assert "teacher a" not in board(state)


def test_training_that_stopped_early_is_done_when_the_next_phase_begins() -> None:
    state = RunState()
    state.apply(STUDENT, {"event": "plan", "time": 1.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 40, "epoch": 1.6, "loss": None, "time": 2.0})
    assert not state.training[STUDENT].done
    state.apply(STUDENT, {"event": "phase", "phase": "baseline alone", "time": 3.0})
    assert state.training[STUDENT].done
    assert "epoch" not in board(state)


@pytest.mark.parametrize(("epoch", "shown"), [(0.0, (1, 0.0)), (0.5, (1, 0.5)), (1.0, (1, 1.0)), (2.25, (3, 0.25))])
def test_the_epoch_under_way(epoch: float, shown: tuple[int, float]) -> None:
    state = RunState()
    state.apply(STUDENT, {"event": "step", "step": 1, "epoch": epoch, "time": 1.0})
    assert state.training[STUDENT].epoch_part == shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_narrow_or_plain_terminal_is_enough(encoding: str) -> None:
    state = RunState()
    for k in range(9):
        state.apply(STUDENT, {"event": "phase", "phase": f"teachers: fine-tune number-{k}", "time": float(k)})
    state.apply(
        STUDENT, {"event": "targets", "teacher": "a-very-long-name-of-a-teacher", "rows": 1, "of": 2, "time": 9}
    )
    state.apply(STUDENT, {"event": "plan", "time": 10.0, **PLAN})
    state.apply(STUDENT, {"event": "step", "step": 40, "epoch": 1.6, "loss": 0.5, "time": 11.0})
    text = board(state, width=60, encoding=encoding)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "1 of 2 rows" in text
    assert "2 earlier" in text


def test_durations_read_well() -> None:
    assert [clock(s) for s in (-1, 0.4, 59.6, 3599, 3723)] == ["0:00", "0:00", "1:00", "59:59", "1:02:03"]
    assert [duration(s) for s in (0.42, 9.96, 59.7, 125, 4800)] == [
        "0.4 s",
        "10 s",
        "1 min 0 s",
        "2 min 5 s",
        "1 h 20 min",
    ]

"""The fold of a run's logs: what is done, how long the rest takes, and the series that pages draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from logged import evaluation, feedback, plan, policy, step, targets, teacher_evaluation, view

from raykd.display.verdict import verdict
from raykd.records.events import DoneEvent, PhaseEvent, TeacherStep
from raykd.records.log import MetricsLog
from raykd.records.run_state import STUDENT, RunState
from raykd.records.series import Series


def test_a_series_keeps_the_last_value_of_a_step_and_rises() -> None:
    series = Series.of([(20, 0.5), (10, 0.7), (20, 0.4), (30, None), (40, 0.2), (40, None)])
    assert (series.x, series.y) == ((10, 20), (0.7, 0.4))
    assert (series.first, series.last, series.mean) == (0.7, 0.4, pytest.approx(0.55))
    less = series.minus(Series.of([(20, 0.1), (50, 1.0)]))
    assert (less.x, less.y) == ((20,), (pytest.approx(0.3),))
    assert not Series()
    assert Series().last is Series().mean is None


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [(0.891, 0.899, "better"), (0.87, 0.866, "worse"), (0.8906, 0.8914, "same"), (0.8914, 0.8906, "same"),
     (-0.0001, 0.0001, "same"), (None, 0.9, None), (0.9, None, None)],
)  # fmt: skip
def test_a_verdict_is_of_the_numbers_that_are_shown(began: float | None, ended: float | None, expected: str) -> None:
    assert verdict(began, ended) == expected


def test_a_folder_becomes_one_state(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(PhaseEvent(phase="soft targets"))
    log.write(targets(800, 800))
    log.write(PhaseEvent(phase="student"))
    log.write(plan())
    for number, loss in ((10, 0.7), (20, float("nan")), (30, 0.5)):
        log.write(step(number, loss=loss, soft=0.4))
        log.write(evaluation(number, value={10: 0.7, 20: 0.8, 30: 0.8}[number], loss=loss))
    baseline = MetricsLog(tmp_path / "baselines/alone/metrics.jsonl")
    baseline.write(plan())
    baseline.write(step(10))
    MetricsLog(tmp_path / "teachers/bert-a.jsonl").write(plan(metric="f1"))
    log.write(DoneEvent())

    state = RunState.read(tmp_path)
    student = state.student
    assert state.done
    assert state.phase == "student"
    assert state.targets["bert-a"].done
    assert (student.metric, student.steps, student.step, student.epochs) == ("accuracy", 100, 30, 4)
    assert student.series["loss"] == Series.of([(10, 0.7), (30, 0.5)])
    assert student.series["soft"].x == (10, 20, 30)
    assert student.series["value"].y == (0.7, 0.8, 0.8)
    assert student.series["validation_loss"].x == (10, 30)
    assert (student.best, student.best_step) == (0.8, 20)  # the first of equals
    assert list(state.baselines) == ["alone"]
    assert not state.baselines["alone"].series["soft"]
    assert state.training["teacher bert-a"].metric == "f1"


def test_no_folder_is_an_empty_state(tmp_path: Path) -> None:
    state = RunState.read(tmp_path / "nowhere")
    assert state == RunState()
    assert state.student.step == 0


def test_feedback_becomes_series_of_each_teacher() -> None:
    state = RunState()
    state.apply(STUDENT, plan())
    state.apply(STUDENT, teacher_evaluation(0, 0.8))
    measured = TeacherStep(
        version=2, grad_norm=2.0, norm_feedback=0.5, norm_reference=0.1, cosine_quiz=0.25, cosine_last=-0.5
    )
    state.apply(STUDENT, feedback(1, quiz_before=0.7, quiz_after=0.6, wire_bytes=100, seconds=0.5))
    state.apply(STUDENT, feedback(2, quiz_after=0.5, wire_bytes=200, seconds=0.25, teachers={"bert-a": measured}))
    state.apply(STUDENT, teacher_evaluation(2, 0.9))

    seen = state.student.feedback
    assert seen is not None
    assert (seen.rounds, seen.wire_bytes, seen.seconds) == (2, 200, 0.75)
    assert (seen.quiz_before, seen.quiz_after) == (None, 0.5)
    assert seen.before.minus(seen.after).y == (pytest.approx(0.1),)
    teacher = seen.teachers["bert-a"]
    assert teacher.version == 2
    assert (teacher.value("accuracy").first, teacher.value("accuracy").last) == (0.8, 0.9)
    assert not teacher.value("f1")
    assert teacher.mean_norms == {"feedback": 0.5, "reference": 0.1}
    assert teacher.grad_norm.y == (1.0, 2.0)
    assert (teacher.cosine_quiz.y, teacher.cosine_last.y) == ((0.25,), (-0.5,))


def test_the_policy_becomes_series() -> None:
    state = RunState()
    state.apply(STUDENT, policy(8, {"a": 0.5, "b": 0.5}, version=1, entropy=1.4))
    state.apply(STUDENT, policy(16, {"a": 0.2, "b": 0.9}, version=2, entropy=1.0, reward=None))
    seen = state.student.policy
    assert seen is not None
    assert seen.updates == 2
    assert seen.newest == {"a": 0.2, "b": 0.9}
    assert (seen.entropy.y, seen.reward.x) == ((1.4, 1.0), (8,))


def test_teachers_measured_after_the_training_do_not_begin_it_again() -> None:
    state = RunState()
    state.apply(STUDENT, plan(time=1.0))
    state.apply(STUDENT, step(40, time=2.0))
    state.apply(STUDENT, PhaseEvent(phase="test", time=3.0))
    state.apply(STUDENT, teacher_evaluation(40, 0.9, time=4.0))
    assert state.training[STUDENT].done
    assert "bert-a v40 accuracy 0.9000" in view(state)


def test_the_time_left_follows_the_pace_of_this_session() -> None:
    state = RunState(since=1000.0)
    state.apply(STUDENT, plan(time=1.0))
    state.apply(STUDENT, step(10, time=2.0))
    state.apply(STUDENT, plan(time=1000.0))
    student = state.training[STUDENT]
    state.apply(STUDENT, step(20, time=1002.0))
    assert student.seconds_left(1002.0) is None
    state.apply(STUDENT, step(40, time=1012.0))
    assert student.seconds_left(1012.0) == pytest.approx(60 * 0.5)
    assert student.seconds_left(1015.0) == pytest.approx(27.0)
    assert student.seconds_left(9999.0) == 0.0


def test_a_resumed_training_continues_without_a_new_plan() -> None:
    state = RunState(since=10.0)
    state.apply(STUDENT, plan(time=1.0))
    state.apply(STUDENT, step(40, time=2.0))
    state.apply(STUDENT, PhaseEvent(phase="student", time=11.0))
    assert state.training[STUDENT].done
    state.apply(STUDENT, step(50, time=12.0))
    assert not state.training[STUDENT].done
    assert "step 50 of 100" in view(state)


def test_the_last_lines_of_a_baseline_do_not_bring_it_back() -> None:
    """Its log may be read after the run's own, where the next phase has begun already."""
    state = RunState()
    state.apply("baseline alone", plan(time=1.0))
    state.apply("baseline alone", step(40, time=2.0))
    state.apply(STUDENT, PhaseEvent(phase="student", time=4.0))
    state.apply("baseline alone", evaluation(50, 0.7, time=3.0))
    assert state.training["baseline alone"].done


@pytest.mark.parametrize(("epoch", "shown"), [(0.0, (1, 0.0)), (0.5, (1, 0.5)), (1.0, (1, 1.0)), (2.25, (3, 0.25))])
def test_the_epoch_under_way(epoch: float, shown: tuple[int, float]) -> None:
    state = RunState()
    state.apply(STUDENT, step(1, epoch=epoch, time=1.0))
    assert state.training[STUDENT].epoch_part == shown

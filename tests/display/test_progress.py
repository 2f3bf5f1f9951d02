"""The progress display: what it shows and logs while logs grow, are cut back, break off, or do not exist."""

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from logged import evaluation, feedback, plan, policy, step, targets, teacher_evaluation, view
from rich.console import Console
from rich.logging import RichHandler

from raykd.display import progress
from raykd.display.progress import RunProgress
from raykd.records.events import DoneEvent, PhaseEvent
from raykd.records.log import MetricsLog
from raykd.records.run_state import STUDENT

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(autouse=True)
def _read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_READS", 0.02)


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})


def quiet() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=100)


def drawn(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_run_from_nothing_to_its_end_is_drawn(tmp_path: Path, terminal: Console) -> None:
    log = MetricsLog(tmp_path / "run/metrics.jsonl")
    with RunProgress(tmp_path / "run", console=terminal) as shown:
        log.write(PhaseEvent(phase="soft targets"))
        log.write(targets(400, 800))
        until(lambda: "400 of 800 rows" in drawn(terminal))
        log.write(targets(800, 800))
        log.write(PhaseEvent(phase="student"))
        log.write(plan())
        log.write(step(60, soft=0.4, hard=0.6, wait_share=0.021))
        log.write(evaluation(60, 0.8125))
        until(lambda: "step 60 of 100" in drawn(terminal))
        alone = MetricsLog(tmp_path / "run/baselines/alone/metrics.jsonl")
        alone.write(plan())
        alone.write(step(10, loss=0.7, samples_per_s=600.0))
        until(lambda: "baseline alone" in drawn(terminal))
        teacher = MetricsLog(tmp_path / "run/teachers/bert-b.jsonl")
        teacher.write(plan())
        teacher.write(step(30, loss=0.7, hard=0.7))
        until(lambda: "step 30 of 100" in drawn(terminal))
        assert shown.drawn
    text = drawn(terminal)
    for part in ("teacher bert-a", "epoch 3 of 4", "accuracy 0.8125, best 0.8125 at step 60", "512 samples/s"):
        assert part in text
    assert "loss 0.5000 (soft 0.400, hard 0.600)" in text
    assert "waiting 2.1%" in text
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_passes_with_the_thread_ended_and_the_cursor_back(
    tmp_path: Path, terminal: Console, error: type[BaseException]
) -> None:
    stderr = sys.stderr
    MetricsLog(tmp_path / "metrics.jsonl").write(PhaseEvent(time=time.time() + 60, phase="student"))
    with pytest.raises(error), RunProgress(tmp_path, console=terminal):
        raise error
    assert drawn(terminal).rstrip().endswith(SHOW_CURSOR)
    assert "stopped in student" in drawn(terminal)
    assert sys.stderr is stderr
    assert not [thread for thread in threading.enumerate() if thread.name == "raykd-progress"]


def test_a_terminal_that_is_gone_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if "step" in text:
                raise BrokenPipeError("terminal closed")
            return len(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with RunProgress(tmp_path, enabled=True):
        log.write(plan())
        log.write(step(1))
        until(lambda: "display ends here" in caplog.text)
    assert sys.stdout.write("") == 0


def test_log_lines_go_above_the_display_and_handlers_get_their_stream_back(
    tmp_path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler()
    logger = logging.getLogger("raykd.test_progress")
    logger.addHandler(handler)
    try:
        with RunProgress(tmp_path, console=terminal):
            logger.warning("logged within")
        logger.warning("logged after")
    finally:
        logger.removeHandler(handler)
    assert "logged within" in drawn(terminal)
    assert stream.getvalue() == "logged after\n"


def test_rich_log_lines_go_above_the_display_too(tmp_path: Path, terminal: Console) -> None:
    own = Console(stderr=True)
    handler = RichHandler(console=own, show_path=False)
    logger = logging.getLogger("raykd.test_progress")
    logger.addHandler(handler)
    try:
        with RunProgress(tmp_path, console=terminal):
            logger.warning("logged within")
    finally:
        logger.removeHandler(handler)
    assert "logged within" in drawn(terminal)
    assert handler.console is own


def test_without_a_terminal_there_is_one_line_for_each_phase_pass_and_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    console = quiet()
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with RunProgress(tmp_path, console=console):
        log.write(PhaseEvent(phase="soft targets"))
        for rows in (0, 400, 800, 800):
            log.write(targets(rows, 800))
        log.write(PhaseEvent(phase="student"))
        log.write(plan())
        for number in (10, 20):
            log.write(step(number))
        log.write(evaluation(20, 0.75, scores={"accuracy": 0.75, "f1": 0.7}))
        log.write(DoneEvent())
    phase, answered, student, scored = [record.getMessage() for record in caplog.records]
    assert (phase, student) == ("phase: soft targets", "phase: student")
    assert answered.startswith("teacher bert-a: 800 rows of soft targets available")
    assert scored.startswith("student step 20 of 100, epoch 0.80, accuracy 0.7500 (best 0.7500 at step 20)")
    assert drawn(console) == ""


def test_what_teachers_learn_is_drawn_and_logged_at_evaluations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with RunProgress(tmp_path, console=quiet()) as shown:
        log.write(teacher_evaluation(0, 0.89))
        log.write(plan())
        for number in (10, 20):
            log.write(feedback(number, quiz_before=0.7, quiz_after=0.68 - number / 1000))
            log.write(step(number))
        log.write(evaluation(20, 0.75))
        log.write(teacher_evaluation(20, 0.8912))
    student, teachers = [record.getMessage() for record in caplog.records]
    assert student.startswith("student step 20 of 100")
    learnt = "quiz loss 0.7000 -> 0.6600, bert-a v20 accuracy 0.8912 (began 0.8900)"
    assert teachers == f"teachers at step 20: {learnt}"
    assert "quiz loss 0.7000 → 0.6600 · bert-a v20 accuracy 0.8912 (began 0.8900)" in view(shown.state)
    assert learnt in " ".join(view(shown.state, encoding="ascii").split())


def test_the_choices_of_the_policy_are_drawn_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with RunProgress(tmp_path, enabled=False) as shown:
        log.write(plan())
        log.write(policy(8, {"a": 0.25, "b": 0.5, "c": 0.75, "d": 0.1}))
        log.write(step(10))
        log.write(evaluation(10, 0.7))
        until(lambda: shown.state.student.value is not None)
        assert "chosen: c 75% · b 50% · a 25% · 1 more" in view(shown.state)
        assert "chosen: c 75%, b 50%, a 25%, 1 more" in view(shown.state, encoding="ascii")
    assert any("chosen: c 75%, b 50%, a 25%, 1 more" in line for line in caplog.messages)


def test_a_resumed_run_forgets_the_feedback_after_its_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(plan())
    for number, value in ((0, 0.8), (10, 0.9), (20, 0.7)):
        log.write(teacher_evaluation(number, value))
    with RunProgress(tmp_path, console=quiet()) as shown:
        log.truncate(10)
        until(lambda: (sent := shown.state.student.feedback) is not None and sent.teachers["bert-a"].version == 10)
    assert "accuracy 0.9000 (began 0.8000)" in view(shown.state)


def test_a_resumed_run_logs_only_what_is_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(PhaseEvent(phase="student"))
    log.write(plan())
    for number in (10, 20):
        log.write(evaluation(number, 0.5 + number / 100))
    with RunProgress(tmp_path, console=quiet()) as shown:
        assert caplog.records == []
        time.sleep(0.01)
        log.truncate(10)
        log.write(PhaseEvent(phase="student again"))
        log.write(plan())
        until(lambda: len(caplog.records) == 1)
        assert shown.state.training[STUDENT].best == 0.6
        time.sleep(0.01)
        log.write(evaluation(20, 0.9))
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "phase: student again",
        "student step 20 of 100",
    ]
    assert [phase.name for phase in shown.state.phases] == ["student again"]


def test_enabled_decides_over_the_terminal(tmp_path: Path, terminal: Console) -> None:
    assert not RunProgress(tmp_path, enabled=False, console=terminal).drawn
    assert RunProgress(tmp_path, enabled=True, console=quiet()).drawn
    assert not RunProgress(tmp_path, console=quiet()).drawn


def test_reading_a_long_log_costs_little(tmp_path: Path, terminal: Console) -> None:
    """The thread shares the interpreter with the training: reads must stay far below their half second."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(plan())
    for number in range(5000):
        log.write(step(number))
    with RunProgress(tmp_path, console=terminal) as shown:
        start = time.perf_counter()
        for _ in range(20):
            shown._read(write_lines=False)
        assert (time.perf_counter() - start) / 20 < 0.01

"""The progress display: what it shows and says while logs grow, are cut back, break off, or are not there."""

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from logged import PLAN, board, lesson, taught
from rich.console import Console
from rich.logging import RichHandler

from raykd.display import progress
from raykd.display.progress import Progress
from raykd.records.log import MetricsLog
from raykd.records.run_state import STUDENT

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.02)


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
    with Progress(tmp_path / "run", console=terminal) as shown:
        log.write("phase", phase="soft targets")
        log.write("targets", teacher="bert-a", rows=400, of=800)
        until(lambda: "400 of 800 rows" in drawn(terminal))
        log.write("targets", teacher="bert-a", rows=800, of=800)
        log.write("phase", phase="student")
        log.write("plan", **PLAN)
        log.write("step", step=60, epoch=2.4, loss=0.5, soft=0.4, hard=0.6, samples_per_s=512.3, wait_share=0.021)
        log.write("eval", step=60, epoch=2.4, scores={"accuracy": 0.8125}, loss=0.5, best=True)
        until(lambda: "step 60 of 100" in drawn(terminal))
        alone = MetricsLog(tmp_path / "run/baselines/alone/metrics.jsonl")
        alone.write("plan", **PLAN)
        alone.write("step", step=10, epoch=0.4, loss=0.7, samples_per_s=600.0, wait_share=0.0)
        until(lambda: "baseline alone" in drawn(terminal))
        teacher = MetricsLog(tmp_path / "run/teachers/bert-b.jsonl")
        teacher.write("plan", **PLAN)
        teacher.write("step", step=30, epoch=1.2, loss=0.7, hard=0.7)
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
    MetricsLog(tmp_path / "metrics.jsonl").write("phase", time=time.time() + 60, phase="student")
    with pytest.raises(error), Progress(tmp_path, console=terminal):
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
    with Progress(tmp_path, enabled=True):
        log.write("plan", **PLAN)
        log.write("step", step=1, loss=1.0)
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
        with Progress(tmp_path, console=terminal):
            logger.warning("said within")
        logger.warning("said after")
    finally:
        logger.removeHandler(handler)
    assert "said within" in drawn(terminal)
    assert stream.getvalue() == "said after\n"


def test_rich_log_lines_go_above_the_display_too(tmp_path: Path, terminal: Console) -> None:
    own = Console(stderr=True)
    handler = RichHandler(console=own, show_path=False)
    logger = logging.getLogger("raykd.test_progress")
    logger.addHandler(handler)
    try:
        with Progress(tmp_path, console=terminal):
            logger.warning("said within")
    finally:
        logger.removeHandler(handler)
    assert "said within" in drawn(terminal)
    assert handler.console is own


def test_without_a_terminal_there_is_one_line_for_each_phase_pass_and_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    console = quiet()
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with Progress(tmp_path, console=console):
        log.write("phase", phase="soft targets")
        for rows in (0, 400, 800, 800):
            log.write("targets", teacher="bert-a", rows=rows, of=800)
        log.write("phase", phase="student")
        log.write("plan", **PLAN)
        for step in (10, 20):
            log.write("step", step=step, epoch=step / 25, loss=0.5, samples_per_s=512.3, wait_share=0.0)
        log.write("eval", step=20, epoch=0.8, scores={"accuracy": 0.75, "f1": 0.7}, loss=0.5, best=True)
        log.write("done")
    phase, targets, student, evaluation = [record.getMessage() for record in caplog.records]
    assert (phase, student) == ("phase: soft targets", "phase: student")
    assert targets.startswith("teacher bert-a: 800 rows of soft targets at hand")
    assert evaluation.startswith("student step 20 of 100, epoch 0.80, accuracy 0.7500 (best 0.7500 at step 20)")
    assert drawn(console) == ""


def test_what_teachers_learn_is_drawn_and_told_at_evaluations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with Progress(tmp_path, console=quiet()) as shown:
        log.write("teacher_eval", step=0, epoch=0, teachers={"bert-a": taught(0, 0.89)})
        log.write("plan", **PLAN)
        for step in (10, 20):
            log.write(**lesson(step, quiz_before=0.7, quiz_after=0.68 - step / 1000))
            log.write("step", step=step, epoch=step / 25, loss=0.5)
        log.write("eval", step=20, epoch=0.8, scores={"accuracy": 0.75}, loss=0.5, best=True)
        log.write("teacher_eval", step=20, epoch=0.8, teachers={"bert-a": taught(20, 0.8912)})
    student, teachers = [record.getMessage() for record in caplog.records]
    assert student.startswith("student step 20 of 100")
    learnt = "quiz loss 0.7000 -> 0.6600, bert-a v20 accuracy 0.8912 (began 0.8900)"
    assert teachers == f"teachers at step 20: {learnt}"
    assert "quiz loss 0.7000 → 0.6600 · bert-a v20 accuracy 0.8912 (began 0.8900)" in board(shown.state)
    assert learnt in " ".join(board(shown.state, encoding="ascii").split())


def test_whom_the_policy_chooses_is_drawn_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with Progress(tmp_path, enabled=False) as shown:
        log.write("plan", **PLAN)
        log.write("selector", step=8, version=1, share={"a": 0.25, "b": 0.5, "c": 0.75, "d": 0.1})
        log.write("step", step=10, loss=0.5)
        log.write("eval", step=10, epoch=0.4, scores={"accuracy": 0.7}, best=True)
        until(lambda: (one := shown.state.training.get(STUDENT)) is not None and one.value is not None)
        assert "chosen: c 75% · b 50% · a 25% · 1 more" in board(shown.state)
        assert "chosen: c 75%, b 50%, a 25%, 1 more" in board(shown.state, encoding="ascii")
    assert any("chosen: c 75%, b 50%, a 25%, 1 more" in line for line in caplog.messages)


def test_a_resumed_run_forgets_the_lessons_after_its_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("plan", **PLAN)
    for step, value in ((0, 0.8), (10, 0.9), (20, 0.7)):
        log.write("teacher_eval", step=step, epoch=1, teachers={"bert-a": taught(step, value)})
    with Progress(tmp_path, console=quiet()) as shown:
        log.truncate(10)
        until(
            lambda: (
                (feedback := shown.state.training[STUDENT].feedback_text) is not None
                and feedback.versions == {"bert-a": 10}
            )
        )
    assert "accuracy 0.9000 (began 0.8000)" in board(shown.state)


def test_a_resumed_run_tells_only_what_is_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raykd.progress")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("phase", phase="student")
    log.write("plan", **PLAN)
    for step in (10, 20):
        log.write("eval", step=step, epoch=1, scores={"accuracy": 0.5 + step / 100}, best=True)
    with Progress(tmp_path, console=quiet()) as shown:
        assert caplog.records == []
        time.sleep(0.01)
        log.truncate(10)
        log.write("phase", phase="student again")
        log.write("plan", **PLAN)
        until(lambda: len(caplog.records) == 1)
        assert shown.state.training[STUDENT].best == 0.6
        time.sleep(0.01)
        log.write("eval", step=20, epoch=1, scores={"accuracy": 0.9}, best=True)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "phase: student again",
        "student step 20 of 100",
    ]
    assert [phase.name for phase in shown.state.phases] == ["student again"]


def test_enabled_decides_over_the_terminal(tmp_path: Path, terminal: Console) -> None:
    assert not Progress(tmp_path, enabled=False, console=terminal).drawn
    assert Progress(tmp_path, enabled=True, console=quiet()).drawn
    assert not Progress(tmp_path, console=quiet()).drawn


def test_a_look_at_a_long_log_costs_little(tmp_path: Path, terminal: Console) -> None:
    """The thread shares the interpreter with the training: looks must stay far below their half second."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("plan", **PLAN)
    for step in range(5000):
        log.write("step", step=step, epoch=1.0, loss=0.5, samples_per_s=1.0, wait_share=0.0)
    with Progress(tmp_path, console=terminal) as shown:
        start = time.perf_counter()
        for _ in range(20):
            shown._look(tell=False)
        assert (time.perf_counter() - start) / 20 < 0.01

"""The log of events: what is written is read, half a line costs that line only, a truncated log agrees with a step."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from logged import evaluation, step

from raykd.records.events import DoneEvent, EvalEvent, Event, PhaseEvent, StepEvent, TrialStartedEvent
from raykd.records.log import MetricsLog, Tail, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, StepEvent)]


def test_what_is_written_is_read_at_once(path: Path) -> None:
    log = MetricsLog(path)
    phase, scored = PhaseEvent(phase="student"), evaluation(3, 0.75, scores={"accuracy": 0.75, "f1": None})
    log.write(phase)
    log.write(scored)
    log.write(StepEvent(step=np.int64(3), epoch=np.float32(0.5), lr=np.float64(1e-3), loss=np.float32(0.5), hard=None,
                        grad_norm=1.0, samples_per_s=2.0, wait_share=0.0))  # fmt: skip
    read = read_events(path)  # not closed: each line is flushed
    assert read[:2] == [phase, scored]
    assert isinstance(read[1], EvalEvent)
    assert isinstance(read[2], StepEvent)
    assert (read[2].step, read[2].epoch, read[2].loss) == (3, 0.5, 0.5)
    assert read[0].time <= read[1].time <= read[2].time


def test_numbers_that_json_lacks_become_null_at_any_depth(path: Path) -> None:
    log = MetricsLog(path)
    log.write(step(1, loss=float("nan"), grad_norm=float("inf")))
    log.write(TrialStartedEvent(trial="t0", params={"a": [np.float32("nan"), np.int64(2)], "b": {"c": float("-inf")}}))
    assert not any(word in path.read_bytes() for word in (b"NaN", b"Infinity"))
    first, started = read_events(path)
    assert isinstance(first, StepEvent)
    assert isinstance(started, TrialStartedEvent)
    assert (first.loss, first.grad_norm, first.hard) == (None, None, 0.5)
    assert started.params == {"a": [None, 2], "b": {"c": None}}


def test_a_value_that_is_no_plain_one_is_refused_and_leaves_no_line(path: Path) -> None:
    log = MetricsLog(path)
    with pytest.raises(ValueError, match="object"):
        log.write(TrialStartedEvent(trial="t0", params={"a": object()}))
    assert read_events(path) == []


def test_an_event_costs_microseconds(path: Path) -> None:
    """Of a step of milliseconds; the measure is 1 ms, twenty times what a write takes. Of this process alone: what else
    the machine does is not the log's."""
    log, begun = MetricsLog(path), time.process_time()
    for number in range(500):
        log.write(step(number))
    assert (time.process_time() - begun) / 500 < 1e-3


def test_a_half_last_line_is_not_read_and_the_next_writer_drops_it(path: Path) -> None:
    log = MetricsLog(path)
    log.write(step(1))
    with path.open("ab") as file:
        file.write(b'{"event": "step", "st')
    assert steps(read_events(path)) == [1]
    log = MetricsLog(path)
    log.write(step(2))
    assert steps(read_events(path)) == [1, 2]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_are_no_events_or_of_an_unknown_kind_are_passed_over(path: Path) -> None:
    log = MetricsLog(path)
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"step": 1}\n{"event": "step", "step": 2}\n{"event": "sunrise", "step": 3}\n')
        file.write(b"[" * 100_000 + b"\n")
    log.write(step(4))
    assert steps(read_events(path)) == [4]


def test_no_file_has_no_events(path: Path) -> None:
    assert read_events(path) == []


def test_truncate_drops_later_steps_and_the_end_and_writing_continues(path: Path) -> None:
    log = MetricsLog(path)
    log.write(PhaseEvent(phase="student"))
    with path.open("ab") as file:
        file.write(b'{"event": "sunrise", "step": 10}\n{"event": "sunrise", "step": 30}\n')
    for number in (10, 20, 30):
        log.write(step(number))
        log.write(evaluation(number, 0.5))
    log.write(DoneEvent())
    log.truncate(20)
    log.write(step(30))
    kinds = [(event.event, getattr(event, "step", None)) for event in read_events(path)]
    assert kinds == [("phase", None), *[(kind, k) for k in (10, 20) for kind in ("step", "eval")], ("step", 30)]
    assert path.read_bytes().count(b"sunrise") == 1  # another version's event is kept as far as it agrees
    assert list(path.parent.iterdir()) == [path]


def test_events_of_two_writers_are_kept_after_one_of_them_has_truncated_the_log(path: Path) -> None:
    driver, worker = MetricsLog(path), MetricsLog(path)
    driver.write(PhaseEvent(phase="student"))
    worker.write(step(20))
    worker.truncate(10)
    driver.write(PhaseEvent(phase="baseline alone"))
    worker.write(step(11))
    assert [event.event for event in read_events(path)] == ["phase", "phase", "step"]


def test_a_truncation_that_drops_nothing_leaves_the_file_alone(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    log.write(step(10))
    tail.read()
    log.truncate(10)
    assert tail.read() == ([], False)


def test_threads_write_whole_lines(path: Path) -> None:
    log = MetricsLog(path)

    def write_steps() -> None:
        for number in range(200):
            log.write(step(number))

    threads = [threading.Thread(target=write_steps) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_events(path)) == 800


def test_a_tail_reads_only_what_is_new_and_whole(path: Path) -> None:
    tail = Tail(path)
    assert tail.read() == ([], False)
    log = MetricsLog(path)
    log.write(step(1))
    assert steps(tail.read()[0]) == [1]
    assert tail.read() == ([], False)
    with path.open("ab") as file:
        line = step(2).model_dump_json().encode()
        file.write(line[:20])
        file.flush()
        assert tail.read() == ([], False)
        file.write(line[20:] + b"\n")
    assert steps(tail.read()[0]) == [2]


def test_a_tail_begins_again_when_the_log_is_cut_even_if_it_has_outgrown_its_old_size(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    for number in (1, 2, 3):
        log.write(step(number))
    tail.read()
    log.truncate(1)
    for number in (2, 3, 4, 5):
        log.write(step(number, samples_per_s=123456.789))
    events, truncated = tail.read()
    assert truncated
    assert steps(events) == [1, 2, 3, 4, 5]


def test_a_tail_begins_again_when_the_file_is_truncated_in_place(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    log.write(step(1))
    log.write(step(2))
    tail.read()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    events, truncated = tail.read()
    assert truncated
    assert steps(events) == [1]

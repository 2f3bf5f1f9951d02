"""The log of metrics: what is written is read, half a line costs that line only, a cut agrees with a step."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from raykd.records.log import MetricsLog, Tail, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def test_what_is_written_is_read_at_once(path: Path) -> None:
    log = MetricsLog(path)
    log.write("phase", phase="student")
    log.write("step", step=np.int64(3), loss=np.float32(0.5), scores={"accuracy": 0.75})
    phase, step = read_events(path)  # not closed: each line is flushed
    assert (phase["event"], phase["phase"]) == ("phase", "student")
    assert phase["time"] <= step["time"]
    assert (step["step"], step["loss"], step["scores"]) == (3, 0.5, {"accuracy": 0.75})


def test_numbers_that_json_cannot_say_become_null(path: Path) -> None:
    log = MetricsLog(path)
    log.write("step", step=1, loss=float("nan"), norms=[np.float64("inf"), 1.0])
    assert b"NaN" not in path.read_bytes()
    (event,) = read_events(path)
    assert event["loss"] is None
    assert event["norms"] == [None, 1.0]


def test_a_value_that_is_no_plain_one_is_refused_and_leaves_no_line(path: Path) -> None:
    log = MetricsLog(path)
    with pytest.raises(TypeError):
        log.write("step", step=object())
    assert read_events(path) == []


def test_a_half_last_line_is_not_read_and_the_next_writer_drops_it(path: Path) -> None:
    log = MetricsLog(path)
    log.write("step", step=1)
    with path.open("ab") as file:
        file.write(b'{"event": "step", "st')
    assert [event["step"] for event in read_events(path)] == [1]
    log = MetricsLog(path)
    log.write("step", step=2)
    assert [event["step"] for event in read_events(path)] == [1, 2]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_are_no_events_are_left_out(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'\xff\xfe\n[1]\n{"step": 1}\n{"event": "step", "step": 2}\n')
    assert [event["step"] for event in read_events(path)] == [2]


def test_no_file_has_no_events(path: Path) -> None:
    assert read_events(path) == []


def test_cut_drops_later_steps_and_the_end_and_writing_goes_on(path: Path) -> None:
    log = MetricsLog(path)
    log.write("phase", phase="student")
    for step in (10, 20, 30):
        log.write("step", step=step)
        log.write("eval", step=step)
    log.write("done")
    log.truncate(20)
    log.write("step", step=30, again=True)
    said = [(event["event"], event.get("step")) for event in read_events(path)]
    assert said == [("phase", None), *[(kind, step) for step in (10, 20) for kind in ("step", "eval")], ("step", 30)]
    assert list(path.parent.iterdir()) == [path]


def test_what_two_writers_of_one_log_say_stands_after_one_of_them_has_cut_it(path: Path) -> None:
    driver, worker = MetricsLog(path), MetricsLog(path)
    driver.write("phase", phase="student")
    worker.write("step", step=20)
    worker.truncate(10)
    driver.write("phase", phase="baseline alone")
    worker.write("step", step=11)
    assert [event["event"] for event in read_events(path)] == ["phase", "phase", "step"]


def test_a_cut_that_drops_nothing_leaves_the_file_alone(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    log.write("step", step=10)
    tail.read()
    log.truncate(10)
    assert tail.read() == ([], False)


def test_threads_write_whole_lines(path: Path) -> None:
    log = MetricsLog(path)

    def write_steps() -> None:
        for k in range(200):
            log.write("step", step=k)

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
    log.write("step", step=1)
    assert [event["step"] for event in tail.read()[0]] == [1]
    assert tail.read() == ([], False)
    with path.open("ab") as file:
        file.write(b'{"event": "step", ')
        file.flush()
        assert tail.read() == ([], False)
        file.write(b'"step": 2}\n')
    assert [event["step"] for event in tail.read()[0]] == [2]


def test_a_tail_begins_again_when_the_log_is_cut_even_if_it_has_outgrown_its_old_size(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    for step in (1, 2, 3):
        log.write("step", step=step)
    tail.read()
    log.truncate(1)
    for step in (2, 3, 4, 5):
        log.write("step", step=step, longer="than before")
    events, truncate = tail.read()
    assert truncate
    assert [event["step"] for event in events] == [1, 2, 3, 4, 5]


def test_a_tail_begins_again_when_the_file_is_truncated_in_place(path: Path) -> None:
    log, tail = MetricsLog(path), Tail(path)
    log.write("step", step=1)
    log.write("step", step=2)
    tail.read()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    events, truncate = tail.read()
    assert truncate
    assert [event["step"] for event in events] == [1]

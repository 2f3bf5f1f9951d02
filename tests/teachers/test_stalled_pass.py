"""A pass in which no row comes says so, and ends after `cluster.stall_timeout_s`."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import DeafReplica, spec_of

from raykd.data.corpus import Corpus
from raykd.errors import TeacherError
from raykd.records.log import MetricsLog
from raykd.teachers.serving import session
from raykd.teachers.serving.replica import ModelReplica
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.session import TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel

pytestmark = pytest.mark.usefixtures("ray_local")


def make_pass(spec: TeacherServiceSpec, corpus: Corpus, folder: Path, timeout_s: float | None) -> int:
    request = TargetRequest(corpus.splits["train"], corpus.ids["train"])
    with TeacherSession([spec], {"train": request}, "run", timeout_s) as passing:
        passing.start(MetricsLog(folder / "metrics.jsonl"))
        passing.wait(threading.Event())
        return passing.served[0].cost.rows_computed


@pytest.mark.slow
def test_a_stalled_pass_ends_and_the_next_one_is_whole(
    teacher: TeacherModel,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(session, "STALL_S", 1.0)
    spec, rows = spec_of(teacher, tmp_path, DeafReplica), len(corpus.ids["train"])
    with caplog.at_level(logging.WARNING), pytest.raises(TeacherError) as caught:
        make_pass(spec, corpus, tmp_path, 2.5)
    assert caplog.text.count(f"{rows} are missing; replicas started: 1 of 1") in (1, 2)
    assert f"{rows} are missing" in str(caught.value)
    assert "cluster.stall_timeout_s" in str(caught.value)
    assert make_pass(replace(spec, replica=ModelReplica), corpus, tmp_path, 60) == rows

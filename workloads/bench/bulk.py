"""Bench `bulk` (docs/results.md): a pass over many rows, its rate, and the bytes a row that each process keeps.

    raykd bench bulk --json                     10⁶ rows, about a minute on 2 cores
    raykd bench bulk --rows 10000000 --json

Rows without labels are read as a run reads them; one teacher answers them, whose replicas answer at once with made-up
logits of two classes, so that what is measured is the way of a row through the service. A client in a process of its
own takes all rows meanwhile, as a student would that trains beside the pass. At the end the table is compared with what
the replicas answered.

`bytes_per_row`: the most that a process had, less what it had before, ÷ rows, of driver, service and client: memory of
its own (`own`), and with the files that it has mapped (`all`), which the kernel takes back where it needs room.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from raykd import config as configuration
from raykd import runtime
from raykd.config import GeneratorConfig, RunConfig
from raykd.data.generated import generator
from raykd.records.log import MetricsLog
from raykd.run.context import open_corpus
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.placement import service_spec
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.session import TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel

from ._memory import Watch
from ._sleeper import Sleeper, made_up_logits, set_speed

log = logging.getLogger(__name__)
PART_ROWS = 100_000
"""Rows of the source that are written at a time."""
LABELLED = 1000
COMPARED_ROWS = 1_000_000
"""Rows of the table that are compared at a time."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; smaller ones only show that the program runs.

    Attributes:
        rows: without labels.
        replicas: that answer them.
        step_rows: of the client's batches.
    """

    rows: int = 1_000_000
    replicas: int = 2
    step_rows: int = 1024


class Student:
    """A process that takes all rows in batches, asking four of them ahead."""

    def pid(self) -> int:
        """Of this process, which by then has imported what it needs."""
        return os.getpid()

    def take(self, source: TargetSource, rows: int) -> int:
        """How many rows it got; it forgets them as it goes."""
        client = TeacherClient(source)
        batches = np.array_split(source.wanted, max(1, len(source.wanted) // rows))
        taken = 0
        for k, batch in enumerate(batches):
            client.prefetch(batches[k : k + 4])
            taken += len(client.get(batch))
        client.close()
        return taken


def main(args: list[str]) -> dict[str, Any]:
    """Measures and returns seconds, rates and bytes a row."""
    parser = argparse.ArgumentParser("raykd bench bulk", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=Sizes.rows, help="without labels; default 1,000,000")
    parser.add_argument("--replicas", type=int, default=Sizes.replicas, help="that answer them; default 2")
    parsed = parser.parse_args(args)
    return measure(replace(Sizes(), rows=parsed.rows, replicas=parsed.replicas))


def measure(sizes: Sizes) -> dict[str, Any]:
    """One pass."""
    with tempfile.TemporaryDirectory(prefix="raykd-bench-") as path:
        config = _written(Path(path), sizes.rows)
        with runtime.connected(config), Watch() as watch:
            watch.add("driver", os.getpid())
            begun = time.perf_counter()
            corpus, task = open_corpus(config)
            seconds, split = time.perf_counter() - begun, corpus.splits["train"]
            log.info("read %d rows in %.0f s", split.rows, seconds)
            teacher = TeacherModel(
                "sleeper", str(Path(path) / "sleeper"), tuple(range(task.classes)), task.labels,
                config.data.max_length, "float32", "sleeper", "", 0,
            )  # fmt: skip
            set_speed(Path(teacher.folder), 0.0)
            spec = _spec(teacher, config, sizes.replicas)
            order = np.random.default_rng(0).permutation(split.rows)
            result = _passed(watch, spec, TargetRequest(split, order), sizes)
            rows = split.rows
            return {
                "bench": "bulk", "rows": rows, "replicas": sizes.replicas, "read_s": round(seconds, 1), **result,
                "bytes_per_row": {
                    name: {kind: round(grown / rows, 1) for kind, grown in watch.grown(name).items()}
                    for name in watch.names
                },
                "table_bytes_per_row": round(_table_bytes(teacher, config, split.texts) / rows, 1),
            }  # fmt: skip


def _passed(watch: Watch, spec: TeacherServiceSpec, request: TargetRequest, sizes: Sizes) -> dict[str, Any]:
    service = connect(spec)
    watch.add("service", cast(dict[str, Any], ray.get(service.status.remote()))["pid"])
    actor: Any = ray.remote(Student)
    student = actor.options(num_cpus=0).remote()
    watch.add("client", ray.get(student.pid.remote()))
    source = TargetSource(spec.teacher, request.split, spec.cache, "student", request.ids, spec)
    with _session(spec, request) as session:
        begun = time.perf_counter()
        taking = student.take.remote(source, sizes.step_rows)
        session.wait(threading.Event())
        pass_s = time.perf_counter() - begun
        state = cast(dict[str, Any], ray.get(service.status.remote()))
        taken = ray.get(taking)
        taken_s = time.perf_counter() - begun
        answers = cast(dict[str, Any], ray.get(service.progress.remote("driver")))["answers"]
    if taken != len(request.ids):
        raise RuntimeError(f"the client got {taken} of {len(request.ids)} rows")
    _compare(spec, request)
    return {
        "pass_s": round(pass_s, 1),
        "rows_per_s": round(len(request.ids) / pass_s),
        "calls_per_s": round(answers / pass_s),
        "client_s": round(taken_s, 1),
        "rows_computed": state["rows"]["forwards"],
    }


@contextmanager
def _session(spec: TeacherServiceSpec, request: TargetRequest) -> Iterator[TeacherSession]:
    with tempfile.TemporaryDirectory() as folder, TeacherSession([spec], {"train": request}, "driver") as session:
        session.start(MetricsLog(Path(folder) / "pass.jsonl"))
        yield session


def _compare(spec: TeacherServiceSpec, request: TargetRequest) -> None:
    """Every row's answer is the one that its replica gave."""
    table = spec.teacher.store(Path(spec.cache), request.split.texts).sealed()
    if table is None or len(table.ids) != len(request.ids):
        raise RuntimeError("the table is not whole")
    for start in range(0, len(table.ids), COMPARED_ROWS):
        part = slice(start, start + COMPARED_ROWS)
        np.testing.assert_array_equal(
            cast(np.ndarray, table.values)[part], made_up_logits(table.ids[part], spec.teacher.classes)
        )


def _spec(teacher: TeacherModel, config: RunConfig, replicas: int) -> TeacherServiceSpec:
    spec = service_spec(teacher, config.teachers[0], config.cache_folder, threads=1, lease_s=None)
    free = replace(spec.actor_resources, num_cpus=0.0)  # they do not compute
    return replace(spec, replica=Sleeper, replicas=replicas, actor_resources=free)


def _written(folder: Path, rows: int) -> RunConfig:
    """A configuration of so many rows without labels: generated sentences, each with a number of its own."""
    generated = generator.generate(GeneratorConfig(rows=LABELLED, validation_rows=LABELLED))
    for split in ("train", "validation"):
        (folder / "rows").mkdir(exist_ok=True)
        pq.write_table(generated[split].select(["text", "label"]), folder / "rows" / f"{split}.parquet")
    texts = generated["train"]["text"].to_pylist()
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(folder / "unlabeled.parquet", schema) as writer:
        for start in range(0, rows, PART_ROWS):
            part = [f"{texts[k % len(texts)]} {k}" for k in range(start, min(rows, start + PART_ROWS))]
            writer.write_table(pa.table({"text": part}, schema))
    model = {"layers": 1, "hidden_size": 16, "heads": 2}
    return configuration.parse(
        {
            "name": "bulk",
            "data": {"source": str(folder / "rows"), "unlabeled": str(folder / "unlabeled.parquet"), "max_length": 64},
            "student": model,
            "teachers": [{"model": model, "prepare": "finetune"}],
            "cache": str(folder / "cache"),
        }
    )


def _table_bytes(teacher: TeacherModel, config: RunConfig, texts: str) -> int:
    folder = teacher.store(config.cache_folder, texts).folder
    return sum(path.stat().st_size for path in folder.glob("sealed-*.arrow"))

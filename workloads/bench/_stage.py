"""What a bench is played on: generated rows, fresh models and threads, in a temporary folder that goes with it.

Nothing is downloaded, and neither the user's cache nor his configuration is touched.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from raykd import config as configuration
from raykd import models
from raykd.config import GeneratorConfig, ModelConfig, ModelTeacherConfig, RunConfig
from raykd.data.corpus import Corpus
from raykd.data.generated import generator
from raykd.data.tasks import Task
from raykd.run.context import open_corpus
from raykd.student.factory import DistillStepFactory
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import TargetRequest
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Job, StepFactory, Subset, WorkerContext

REVIEWS_A_ROW = 3
"""Reviews of the embedded corpus that are joined to one row, of about 45 tokens."""
MAX_LENGTH = 64
VALIDATION_ROWS = 64
SEED = 0


@dataclass(frozen=True)
class Shape:
    """A fresh BERT with its usual dropout, which a real student pays for too."""

    layers: int
    width: int = 384
    heads: int = 12

    @property
    def section(self) -> dict[str, Any]:
        """As the section of a configuration."""
        return {"layers": self.layers, "hidden_size": self.width, "heads": self.heads}


@dataclass(frozen=True)
class Stage:
    """Data, student and threads of one bench; `student` is the checkpoint that every arm starts from."""

    config: RunConfig
    folder: Path
    corpus: Corpus
    task: Task
    worker: WorkerContext
    student: Path

    @property
    def cache(self) -> Path:
        """Of corpora and soft targets."""
        return self.config.cache_folder

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return len(self.corpus.ids["train"])

    @property
    def steps_an_epoch(self) -> int:
        """Batches of all training rows."""
        return -(-self.rows // self.config.train.batch_size)

    def subset(self, name: str) -> Subset:
        """The rows of train, validation or quiz."""
        return Subset.of(self.corpus, name)

    def request(self, name: str) -> TargetRequest:
        """As a run announces them: the training rows in the order of the first epoch."""
        subset = self.subset(name)
        by_epoch = name == "train"
        return TargetRequest(subset.split, subset.seen_in(0, self.config.train, SEED) if by_epoch else subset.ids)

    def distil(self, source: TargetSource, in_loop: bool = False) -> DistillStepFactory:
        """The student's step on one teacher's soft targets, with the objective that a run has by default."""
        config = self.config
        return DistillStepFactory((source,), config.objective, config.weighting, in_loop)

    def job(self, name: str, step: StepFactory, **settings: Any) -> Job:
        """A student's job in a folder of its own; all jobs see the same rows in the same order."""
        folder = self.folder / name
        return Job(
            folder=str(folder),
            metrics=str(folder / "metrics.jsonl"),
            model=str(self.student),
            task=self.task,
            train=self.subset("train"),
            validation=self.subset("validation"),
            settings=self.config.train.model_copy(update=settings),
            seed=SEED,
            max_length=MAX_LENGTH,
            step=step,
            ahead=self.config.train.prefetch,
        )


def all_threads(wanted: int | None) -> int:
    """What was wanted, or all cores."""
    return wanted or os.cpu_count() or 1


@contextlib.contextmanager
def staged(
    rows: int, student: Shape, teacher: Shape, threads: int | None = None, quiz: float | None = None
) -> Iterator[Stage]:
    """Writes the rows and builds the student; the teacher's shape is only noted in the configuration.

    Args:
        threads: of torch, for whoever computes alone; default all cores.
        quiz: share of the rows that are held out for feedback.
    """
    with tempfile.TemporaryDirectory(prefix="raykd-bench-") as path, _random_state_kept():
        folder = Path(path)
        _write(folder / "rows", rows)
        config = configuration.parse(
            {
                "name": "bench",
                "data": {"source": str(folder / "rows"), "max_length": MAX_LENGTH, "quiz": quiz},
                "student": student.section,
                "teachers": [{"model": teacher.section, "prepare": "finetune"}],
                "cache": str(folder / "cache"),
            }
        )
        corpus, task = open_corpus(config)
        checkpoint = fresh(config.student, folder / "student", Subset.of(corpus, "train"), task)
        worker = WorkerContext(rank=0, world=1, device=torch.device("cpu"), threads=all_threads(threads))
        torch.set_num_threads(worker.threads)
        yield Stage(config, folder, corpus, task, worker, checkpoint)


def fresh(shape: ModelConfig, folder: Path, train: Subset, task: Task) -> Path:
    """The checkpoint of an untaught model: what it answers does not matter here, only how long it takes."""
    model, tokenizer = models.build(shape, task, train.texts(), seed=SEED, max_length=MAX_LENGTH)
    models.save(model, tokenizer, folder)
    return folder


def untaught_teacher(stage: Stage) -> TeacherModel:
    """A teacher of the configuration's shape, as fine-tuning would leave it."""
    teacher = stage.config.teachers[0]
    assert isinstance(teacher, ModelTeacherConfig)
    folder = fresh(teacher.model, stage.folder / "teacher", stage.subset("train"), stage.task)
    return TeacherModel(
        name="teacher",
        folder=str(folder),
        columns=tuple(range(stage.task.classes)),
        labels=stage.task.labels,
        max_length=MAX_LENGTH,
        dtype="float32",
        weights=models.weights_fingerprint(folder),
        tokenizer=models.tokenizer_fingerprint(folder),
        parameters=models.parameter_count(folder),
    )


def _write(folder: Path, rows: int) -> None:
    wanted = {"train": rows, "validation": VALIDATION_ROWS}
    generated = generator.generate(
        GeneratorConfig(rows=max(100, REVIEWS_A_ROW * rows), validation_rows=REVIEWS_A_ROW * VALIDATION_ROWS)
    )
    folder.mkdir()
    for split, count in wanted.items():
        texts, labels = generated[split]["text"].to_pylist(), generated[split]["label"].to_pylist()
        starts = range(0, REVIEWS_A_ROW * count, REVIEWS_A_ROW)
        joined = [" ".join(texts[start : start + REVIEWS_A_ROW]) for start in starts]
        pq.write_table(pa.table({"text": joined, "label": labels[:count]}), folder / f"{split}.parquet")


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)

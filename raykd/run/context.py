"""What all phases of a run share."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from raykd.config import RunConfig, TeacherConfig
from raykd.data import corpus as corpora
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.records.events import PhaseEvent
from raykd.records.log import MetricsLog
from raykd.run.folder import RunFolder
from raykd.teachers.finetune import TeacherPrepContext
from raykd.teachers.serving.service import TeacherServiceSpec
from raykd.teachers.serving.session import choose_threads, service_spec
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """What all phases of a run share."""

    config: RunConfig
    folder: RunFolder
    corpus: Corpus
    task: Task
    remote: bool
    stop: threading.Event
    metrics: MetricsLog

    def phase(self, name: str) -> None:
        """Logs that a phase of the run begins."""
        log.info("%s", name)
        self.metrics.write(PhaseEvent(phase=name))

    def teacher_prep(self) -> TeacherPrepContext:
        """Where its teachers are prepared."""
        config = self.config
        return TeacherPrepContext(
            self.corpus, self.task, config.cache_folder, self.folder.path, config.data.max_length,
            self.remote, self.stop, self.metrics,
        )  # fmt: skip

    def services(
        self, teachers: Sequence[TeacherModel], settings: Sequence[TeacherConfig], overlap: bool = False
    ) -> list[TeacherServiceSpec]:
        """What these models are served by; with `overlap` the students train meanwhile."""
        config = self.config
        threads = choose_threads(settings, config.train.workers, self.remote, overlap)
        return [
            service_spec(teacher, given, config.cache_folder, count, self.lease)
            for teacher, given, count in zip(teachers, settings, threads, strict=True)
        ]

    @property
    def run(self) -> str:
        """The run's name among those that share a service or a selector: the same when it goes on."""
        return hashlib.sha256(str(self.folder.path).encode()).hexdigest()[:16]

    @property
    def lease(self) -> float | None:
        """How long a service outlives its last user; on a local Ray it lives and dies with its driver."""
        return self.config.cluster.lease_s if self.remote else None


def open_corpus(config: RunConfig) -> tuple[Corpus, Task]:
    """The data and what is learnt from it."""
    corpus = corpora.load(config.rows, config.task, config.cache_folder)
    return corpus, Task(config.task.type, config.task.best_by, tuple(corpus.labels or ()))

"""What all phases of a run share."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raykd.config import RunConfig, TeacherConfig
from raykd.data import corpus as corpora
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.records.events import PhaseEvent
from raykd.records.log import MetricsLog
from raykd.run.folder import RunFolder
from raykd.teachers.finetune import TeacherPrepContext
from raykd.teachers.serving.placement import choose_threads, service_spec
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.session import TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """A run's configuration, folder, data and log, and the request to stop, as all its phases share them.

    Attributes:
        remote: Ray is a cluster that was joined, not one of our own on this machine.
        in_task: the run is a Ray task beside others of the same driver: its process has the resources of a student's
            worker, and the services that it starts may have other users.
    """

    config: RunConfig
    folder: RunFolder
    corpus: Corpus
    task: Task
    remote: bool
    stop: threading.Event
    metrics: MetricsLog
    in_task: bool = False

    def phase(self, name: str) -> None:
        """Logs that a phase of the run begins."""
        log.info("%s", name)
        self.metrics.write(PhaseEvent(phase=name))

    def teacher_prep(self) -> TeacherPrepContext:
        """What preparing its teachers needs."""
        config = self.config
        return TeacherPrepContext(
            self.corpus, self.task, config.cache_folder, self.folder.path, config.data.max_length,
            self.remote, self.stop, self.metrics,
        )  # fmt: skip

    def session(self, specs: Sequence[TeacherServiceSpec], requests: dict[str, TargetRequest]) -> TeacherSession:
        """A session of this run, which waits for a row as long as the configuration says."""
        return TeacherSession(specs, requests, self.run, self.config.cluster.stall_timeout_s)

    def services(
        self, teachers: Sequence[TeacherModel], settings: Sequence[TeacherConfig], overlap: bool = False
    ) -> list[TeacherServiceSpec]:
        """The services of these models; with `overlap` the students train at the same time."""
        config = self.config
        threads = choose_threads(settings, config.train.workers, self.remote, overlap)
        specs = [
            service_spec(teacher, setting, config.cache_folder, count, self.lease)
            for teacher, setting, count in zip(teachers, settings, threads, strict=True)
        ]
        # A served ensemble's services are others' too, wherever the run is.
        shared = config.cluster.lease_s
        return [spec if spec.ensemble is None else replace(spec, lease_s=shared) for spec in specs]

    @property
    def run(self) -> str:
        """The run's name among those that share a service or a selector: the same when it resumes."""
        return hashlib.sha256(str(self.folder.path).encode()).hexdigest()[:16]

    @property
    def lease(self) -> float | None:
        """How long a service outlives its last user; None: it lives and dies with its driver, on a local Ray."""
        return self.config.cluster.lease_s if self.remote or self.in_task else None


def open_corpus(config: RunConfig) -> tuple[Corpus, Task]:
    """The corpus of a configuration, from the cache or the source, and its task."""
    corpus = corpora.load(config.rows, config.task, config.cache_folder)
    return corpus, Task(config.task.type, config.task.best_by, tuple(corpus.labels or ()))

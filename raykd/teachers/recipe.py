"""How a teacher is trained: what decides its weights beside rows and settings, its step, what is kept beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from raykd.config import TrainedTeacherConfig
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.errors import ConfigError
from raykd.training.job import StepFactory, Subset
from raykd.training.supervised import SupervisedStepFactory


@dataclass(frozen=True)
class Recipe:
    """Of a teacher that learns labels alone; others are derived from it.

    Attributes:
        name: the teacher's, for messages.
        train: the rows that it is trained on.
    """

    name: str
    config: TrainedTeacherConfig
    task: Task
    corpus: Corpus
    train: Subset
    max_length: int

    def check(self) -> None:
        """Refuses rows or a task that it cannot be trained on.

        Raises:
            ConfigError: with what is missing.
        """

    def made_of(self) -> dict[str, Any]:
        """What decides its weights, beside model, rows, task and settings of the optimizer."""
        return {}

    def step(self, start: Path, work: Path) -> StepFactory:
        """The step that it is trained by.

        Args:
            start: the checkpoint that it starts from.
            work: a folder for files that the step reads.
        """
        return SupervisedStepFactory()

    def finish(self, trained: Path, start: Path) -> None:
        """Puts what belongs to it beside the trained checkpoint."""

    def served(self, trained: Path) -> Path:
        """The checkpoint that is served."""
        return trained


@dataclass(frozen=True)
class DomainRecipe(Recipe):
    """Of a teacher that is about several domains."""

    @cached_property
    def row_domains(self) -> list[str]:
        """The domain of each training row.

        Raises:
            ConfigError: there are none, or one alone, or the task is a regression.
        """
        kind, where = self.config.prepare, f"teacher {self.name}"
        names = self.train.rows().domains(self.train.ids)
        if names is None:
            raise ConfigError(where, f"prepare: {kind} is about domains, and the rows name none", "set data.domain")
        if len(set(names)) < 2:
            what = f"prepare: {kind} is about several domains, and all its rows are of {names[0]}"
            raise ConfigError(where, what, "see data.domains")
        if self.task.type == "regression":
            what = f"prepare: {kind} is about classes; a regression has none"
            raise ConfigError(where, what, "set prepare: finetune")
        return names

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains in the order of their names."""
        return tuple(sorted(set(self.row_domains)))

    def check(self) -> None:
        """Refuses rows without domains, of one domain alone, and a regression."""
        _ = self.row_domains

    def made_of(self) -> dict[str, Any]:
        """Its kind, and the domains of the rows."""
        domains = "\x1f".join(self.row_domains).encode()
        return {"prepare": self.config.prepare, "domains": hashlib.sha256(domains).hexdigest()}

"""How a teacher is trained: what decides its weights beside rows and settings, its step, what is kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
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


def domain_names_of(recipe: Recipe) -> list[str]:
    """The domain of each training row.

    Raises:
        ConfigError: there are none, or one alone, or the task is a regression.
    """
    kind, where = recipe.config.prepare, f"teacher {recipe.name}"
    names = recipe.train.rows().domains(recipe.train.ids)
    if names is None:
        raise ConfigError(where, f"prepare: {kind} is about domains, and the rows name none", "set data.domain")
    if len(set(names)) < 2:
        raise ConfigError(
            where, f"prepare: {kind} is about several domains, and all its rows are of {names[0]}", "see data.domains"
        )
    if recipe.task.type == "regression":
        raise ConfigError(where, f"prepare: {kind} is about classes; a regression has none", "set prepare: finetune")
    return names

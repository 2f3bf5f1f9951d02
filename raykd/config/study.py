"""A search over configurations on shared teachers: the section `study` (docs/studies.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark, Section, Seed
from raykd.config.search import (
    AnyScheduler,
    AnySearcher,
    ASHAConfig,
    GridSearchConfig,
    OptunaSearchConfig,
    PBTConfig,
    RandomSearchConfig,
)
from raykd.config.task import Metric


class RangeConfig(Section):
    """The values of one key: exactly one of the kinds."""

    uniform: tuple[float, float] | None = Field(None, description="[low, high]")
    loguniform: tuple[float, float] | None = Field(None, description="[low, high], both above 0")
    randint: tuple[int, int] | None = Field(None, description="[low, high], high left out")
    choice: list[Any] | None = Field(None, description="values to draw from")
    grid: list[Any] | None = Field(None, description="values that are all tried; with searcher: grid")

    @model_validator(mode="before")
    @classmethod
    def _has_a_kind(cls, given: Any) -> Any:
        if not isinstance(given, dict | cls):
            raise ValueError(cls._kinds_line())
        return given

    @model_validator(mode="after")
    def _exactly_one(self) -> RangeConfig:
        kinds = [kind for kind in type(self).model_fields if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(self._kinds_line())
        pair = self.uniform or self.loguniform or self.randint
        if pair is not None and pair[0] >= pair[1]:
            raise ValueError(f"{kinds[0]}: {pair[0]} is not below {pair[1]}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform: both ends must be above 0")
        if pair is None and not self.values:
            raise ValueError(f"{kinds[0]}: give at least one value")
        return self

    @classmethod
    def _kinds_line(cls) -> str:
        return f"give exactly one of {', '.join(cls.model_fields)}, for example {{choice: [2, 4]}}"

    @property
    def values(self) -> list[Any] | None:
        """Of choice and grid, all values; None of the others."""
        return self.choice if self.choice is not None else self.grid

    @property
    def examples(self) -> list[Any]:
        """Values that must all be valid: every choice, or both ends."""
        pair = self.uniform or self.loguniform or (self.randint and (self.randint[0], self.randint[1] - 1))
        return list(pair) if pair else list(self.values or [])


class RepeatConfig(Section):
    """The best configurations run again before one of them is called the best."""

    top_k: int = Field(3, ge=0, description="so many of the best trials are repeated; 0: the best trial wins at once")
    seeds: int = Field(3, ge=2, description="runs of each, its own among them: the seeds from `seed` upwards")


class StudyConfig(Section):
    """What is searched, how, and for how long."""

    space: dict[str, RangeConfig] = Field(
        description="the values of each key, by its dotted name",
        examples=[{"objective.temperature": {"loguniform": [1, 10]}}],
    )
    metric: Metric | None = Field(None, description="on validation, higher is better; default task.metric")
    minimize: Literal["parameters", "latency_ms"] | None = Field(
        None, description="with optuna: a second aim, as low as possible"
    )
    trials: int = Field(
        16, ge=1, description="of random and optuna, and pbt's population; a grid has as many as it has"
    )
    time_budget_s: Annotated[float | None, Mark.PLACEMENT] = Field(
        None, gt=0, description="no trial continues after so many seconds"
    )
    concurrency: Annotated[int | None, Mark.PLACEMENT] = Field(
        None, ge=1, description="trials at once; null: as many as the cores hold"
    )
    searcher: AnySearcher = Field(RandomSearchConfig(), description="where the points come from")
    scheduler: AnyScheduler = Field(ASHAConfig(), description="which trials end early")
    repeat: RepeatConfig = Field(RepeatConfig(), description="the best ones over several seeds")
    seed: Seed = Field(0, description="of the search; the trials' own is `seed` of the run")

    @model_validator(mode="after")
    def _fits(self) -> StudyConfig:
        if not self.space:
            raise ValueError("space: name at least one key to search over")
        pbt, optuna = isinstance(self.scheduler, PBTConfig), isinstance(self.searcher, OptunaSearchConfig)
        if self.minimize is not None and not optuna:
            raise ValueError("minimize: two aims need searcher: optuna")
        if self.minimize is not None and pbt:
            raise ValueError("minimize: pbt has one aim; use asha, median or none")
        if optuna and pbt:
            raise ValueError("searcher: pbt draws its population itself and changes it; use searcher: random")
        for key, values in self.space.items():
            self._check_values(key, values)
        return self

    def _check_values(self, key: str, values: RangeConfig) -> None:
        grid = isinstance(self.searcher, GridSearchConfig)
        if values.grid is not None and not grid:
            raise ValueError(f"space.{key}: grid needs searcher: grid; use choice")
        if grid and values.values is None:
            raise ValueError(f"space.{key}: a grid needs listed values: grid or choice")
        if values.grid is not None and isinstance(self.scheduler, PBTConfig):
            raise ValueError(f"space.{key}: pbt draws its values; use choice")

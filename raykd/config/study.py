"""A search over configurations on shared teachers: the section `study` (DESIGN sections 5 and 8)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from raykd.config.base import Section

SHARED = ("name", "task", "data", "teachers", "cluster", "cache", "study", "baselines", "parity_rows", "trackers")
"""Top-level keys that all trials have in common: with other rows or teachers their metrics would not compare."""
FIXED = (
    "train.workers", "train.worker_cpus", "train.worker_gpus", "train.worker_resources", "train.overlap",
    "train.max_failures", "weighting.shared", "weighting.sentence_teacher", "weighting.sentence_encoder",
    "weighting.cross_fit",
)  # fmt: skip
"""Keys that decide where a trial runs, or what is computed for all trials before the first begins."""
LIVE = (
    "train.lr", "train.weight_decay", "train.max_grad_norm", "objective.temperature", "objective.alpha",
    "feedback.teacher_lr", "feedback.pilot_lr", "feedback.weight",
)  # fmt: skip
"""What a student can change in mid-training, as PBT does: no shape, no row, no seed depends on it."""


class RangeConfig(Section):
    """The values of one key: exactly one of the kinds."""

    uniform: tuple[float, float] | None = Field(None, description="[low, high]")
    loguniform: tuple[float, float] | None = Field(None, description="[low, high], both above 0")
    randint: tuple[int, int] | None = Field(None, description="[low, high], high left out")
    choice: list[Any] | None = Field(None, description="values to draw from")
    grid: list[Any] | None = Field(None, description="values that are all tried; with searcher: grid")

    @model_validator(mode="after")
    def _one(self) -> RangeConfig:
        given = [kind for kind in type(self).model_fields if getattr(self, kind) is not None]
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"give exactly one of {kinds}, for example {{choice: [2, 4]}}")
        pair = self.uniform or self.loguniform or self.randint
        if pair is not None and pair[0] >= pair[1]:
            raise ValueError(f"{given[0]}: {pair[0]} is not below {pair[1]}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform: both ends must be above 0")
        if pair is None and not self.values:
            raise ValueError(f"{given[0]}: give at least one value")
        return self

    @property
    def values(self) -> list[Any] | None:
        """Of choice and grid, all values; None of the others."""
        return self.choice if self.choice is not None else self.grid

    @property
    def examples(self) -> list[Any]:
        """Values that must all be valid: every choice, or both ends."""
        pair = self.uniform or self.loguniform or (self.randint and (self.randint[0], self.randint[1] - 1))
        return list(pair) if pair else list(self.values or [])


class SchedulerConfig(Section):
    """Which trials end early (asha, median) or take over another's student (pbt). Units are evaluations."""

    shorthand = "type"

    type: Literal["asha", "median", "pbt", "none"] = Field("asha", description="none: every trial runs to its end")
    grace_period: int = Field(1, ge=1, description="evaluations that every trial may have before it can be ended")
    reduction_factor: float = Field(3, gt=1, description="asha: one in so many goes on at each rung")
    max_evaluations: int | None = Field(
        None, ge=1, description="asha: no trial goes on after so many; null: a whole training"
    )
    min_trials: int = Field(3, ge=1, description="median: trials that there must be to compare with")
    perturbation_interval: int = Field(1, ge=1, description="pbt: evaluations between two exchanges")
    quantile_fraction: float = Field(
        0.25, gt=0, le=0.5, description="pbt: share that takes over, from as large a best share"
    )
    resample_probability: float = Field(
        0.25, ge=0, le=1, description="pbt: how often a value is drawn anew instead of shifted"
    )


class RepeatConfig(Section):
    """The best configurations run again before one of them is called the best."""

    top_k: int = Field(3, ge=0, description="so many of the best trials are repeated; 0: the best trial wins at once")
    seeds: int = Field(3, ge=2, description="runs of each, its own among them: the seeds from `seed` upwards")


class StudyConfig(Section):
    """What is searched, how, and for how long."""

    space: dict[str, RangeConfig] = Field(description="by dotted key, {objective.temperature: {loguniform: [1, 10]}}")
    metric: Literal["accuracy", "f1", "matthews", "pearson", "spearman"] | None = Field(
        None, description="on validation, higher is better; default task.metric"
    )
    minimize: Literal["parameters", "latency_ms"] | None = Field(
        None, description="with optuna: a second aim, as low as possible"
    )
    trials: int = Field(
        16, ge=1, description="of random and optuna, and pbt's population; a grid has as many as it has"
    )
    time_budget_s: float | None = Field(None, gt=0, description="no trial goes on after so many seconds")
    concurrency: int | None = Field(None, ge=1, description="trials at once; null: as many as the cores hold")
    searcher: Literal["random", "grid", "optuna"] = Field("random", description="optuna: TPE")
    scheduler: SchedulerConfig = Field(SchedulerConfig(), description="which trials end early")
    repeat: RepeatConfig = Field(RepeatConfig(), description="the best ones over several seeds")
    seed: int = Field(0, ge=0, description="of the search; the trials' own is `seed` of the run")

    @model_validator(mode="after")
    def _fits(self) -> StudyConfig:
        if not self.space:
            raise ValueError("space: name at least one key to search over")
        for key, given in self.space.items():
            self._check_key(key, given)
        if self.minimize is not None and self.searcher != "optuna":
            raise ValueError("minimize: two aims need searcher: optuna")
        if self.minimize is not None and self.scheduler.type == "pbt":
            raise ValueError("minimize: pbt has one aim; use asha, median or none")
        if self.searcher == "optuna" and self.scheduler.type == "pbt":
            raise ValueError("searcher: pbt draws its population itself and changes it; use searcher: random")
        return self

    def _check_key(self, key: str, given: RangeConfig) -> None:
        if key.split(".")[0] in SHARED or key in FIXED:
            raise ValueError(f"space.{key}: all trials of a study share it; set it once, outside the space")
        if (given.grid is not None) != (self.searcher == "grid"):
            if given.grid is not None:
                raise ValueError(f"space.{key}: grid needs searcher: grid; use choice")
            if given.choice is None:
                raise ValueError(f"space.{key}: a grid needs listed values: grid or choice")
        if self.scheduler.type == "pbt" and key not in LIVE:
            why = "it would change shapes, rows or seeds in mid-training"
            raise ValueError(f"space.{key}: pbt cannot change it, {why}; it can change {', '.join(LIVE)}")
        if self.scheduler.type == "pbt" and given.grid is not None:
            raise ValueError(f"space.{key}: pbt draws its values; use choice")

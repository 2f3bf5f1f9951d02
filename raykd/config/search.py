"""How a study searches: `study.searcher` and `study.scheduler`, one class per type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raykd.config.choice import Choice, OneOf


class SearcherConfig(Choice):
    """Where the points of a study come from."""

    shorthand = "type"
    default_type = "random"

    type: str


class RandomSearchConfig(SearcherConfig):
    """Points drawn from the ranges of the space, independently."""

    title = "random search"
    citation = "Bergstra, Bengio, “Random Search for Hyper-Parameter Optimization”, JMLR 2012"

    type: Literal["random"] = "random"


class GridSearchConfig(SearcherConfig):
    """Every combination of listed values, once."""

    title = "grid search"

    type: Literal["grid"] = "grid"


class OptunaSearchConfig(SearcherConfig):
    """Optuna's tree-structured Parzen estimator; with `study.minimize` two aims at once."""

    title = "Optuna (TPE)"
    citation = "Akiba et al., “Optuna”, KDD 2019, arXiv 1907.10902"

    type: Literal["optuna"] = "optuna"


class SchedulerConfig(Choice):
    """Which trials end early, or take over another's student. Units are evaluations."""

    shorthand = "type"
    default_type = "asha"

    type: str


class ASHAConfig(SchedulerConfig):
    """Successive halving, asynchronous: at each rung only the best continue."""

    title = "ASHA"
    citation = "Li et al., “A System for Massively Parallel Hyperparameter Tuning”, MLSys 2020, arXiv 1810.05934"

    type: Literal["asha"] = "asha"
    grace_period: int = Field(1, ge=1, description="evaluations that every trial may have before it can be ended")
    reduction_factor: float = Field(3, gt=1, description="one trial in so many continues at each rung")
    max_evaluations: int | None = Field(
        None, ge=1, description="no trial continues after so many; null: a whole training"
    )


class MedianConfig(SchedulerConfig):
    """A trial ends when its best value is below the median of the others' averages."""

    title = "median stopping rule"
    citation = "Golovin et al., “Google Vizier”, KDD 2017"

    type: Literal["median"] = "median"
    grace_period: int = Field(1, ge=1, description="evaluations that every trial may have before it can be ended")
    min_trials: int = Field(3, ge=1, description="trials that there must be to compare with")


class PBTConfig(SchedulerConfig):
    """Population based training: the worst trials take over the students of the best, with changed rates."""

    title = "population based training"
    citation = "Jaderberg et al., “Population Based Training of Neural Networks”, 2017, arXiv 1711.09846"

    type: Literal["pbt"] = "pbt"
    perturbation_interval: int = Field(1, ge=1, description="evaluations between two exchanges")
    quantile_fraction: float = Field(
        0.25, gt=0, le=0.5, description="share that takes over, from as large a best share"
    )
    resample_probability: float = Field(
        0.25, ge=0, le=1, description="how often a value is drawn from its range instead of shifted"
    )


class NoSchedulerConfig(SchedulerConfig):
    """Every trial runs to its end."""

    title = "no scheduler"

    type: Literal["none"] = "none"


AnySearcher = Annotated[SearcherConfig, OneOf()]
AnyScheduler = Annotated[SchedulerConfig, OneOf()]

"""Drives Ray Tune: searchers, schedulers, resources of trials, and resuming an interrupted search."""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
from functools import partial
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.optuna import OptunaSearch

from raykd.config import ASHAConfig, MedianConfig, PBTConfig, RangeConfig, RunConfig, StudyConfig
from raykd.errors import RaykdError, RunError, one_line
from raykd.run.arms import student_rows
from raykd.run.concurrency import runs_at_once
from raykd.run.tracker_backends import stay_offline
from raykd.study import space
from raykd.study.trial import Setup, run_trial
from raykd.study.trial_logger import TrialLogger
from raykd.training.interrupt import in_thread
from raykd.training.optim import steps_per_epoch, total_steps

log = logging.getLogger(__name__)
KEPT = 4
"""Checkpoints of a PBT trial: a lagging one may still read its leader's last but one."""


def search(setup: Setup, points: list[dict[str, Any]] | None, stop: threading.Event) -> None:
    """The search proper.

    Args:
        points: the trials as {name, params}; None where Optuna suggests them one by one.
    """
    study, rows = _study(setup), len(student_rows(setup.config, setup.corpus).ids)
    tuning = tune.TuneConfig(
        search_alg=_optuna(setup.config) if points is None else None,
        scheduler=scheduler(setup.config, rows),
        num_samples=study.trials if points is None else 1,
        time_budget_s=study.time_budget_s,
        **_common(setup),
    )
    _fit("search", setup, tuning, _listed(points), stop)


def repeat(setup: Setup, points: list[dict[str, Any]], stop: threading.Event) -> None:
    """The same trials with other seeds, all of them to their end; `points` as {name, params, of}."""
    _fit("repetitions", setup, tune.TuneConfig(scheduler=FIFOScheduler(), **_common(setup)), _listed(points), stop)


def concurrency(config: RunConfig, trials: int, remote: bool) -> int:
    """How many trials run at once."""
    assert config.study is not None
    return runs_at_once(config, trials, remote, config.study.concurrency)


def scheduler(config: RunConfig, rows: int) -> TrialScheduler:
    """As configured; units are evaluations of the student."""
    study = config.study
    assert study is not None
    settings = study.scheduler
    aim: dict[str, Any] = {"time_attr": "evaluation", "mode": "max"}
    match settings:
        case ASHAConfig():
            # One more than there are evaluations: Ray Tune ends a trial that comes so far.
            most = settings.max_evaluations or evaluations(config, rows) + 1
            return ASHAScheduler(
                metric="value",
                max_t=max(most, settings.grace_period),
                grace_period=settings.grace_period,
                reduction_factor=settings.reduction_factor,
                **aim,
            )
        case MedianConfig():
            return MedianStoppingRule(
                metric="value",
                grace_period=settings.grace_period,
                min_samples_required=settings.min_trials,
                **aim,
            )
        case PBTConfig():
            return PopulationBasedTraining(
                metric="now",
                perturbation_interval=settings.perturbation_interval,
                quantile_fraction=settings.quantile_fraction,
                resample_probability=settings.resample_probability,
                hyperparam_mutations={"trial": {"params": space.mutations(config)}},
                custom_explore_fn=partial(_within, ranges=dict(study.space)),
                **aim,
            )
        case _:
            return FIFOScheduler()


def evaluations(config: RunConfig, rows: int) -> int:
    """Of a whole training with the study's own settings."""
    every = config.train.eval_every or steps_per_epoch(rows, config.train)
    return math.ceil(total_steps(rows, config.train) / every)


def _within(changed: dict[str, Any], ranges: dict[str, RangeConfig]) -> dict[str, Any]:
    spec = changed["trial"]
    return changed | {"trial": spec | {"params": space.bounded(spec["params"], ranges)}}


def _optuna(config: RunConfig) -> OptunaSearch:
    study = config.study
    assert study is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    aims: tuple[Any, Any] = ("value", "max")
    if study.minimize is not None:
        aims = (["value", study.minimize], ["max", "min"])
    return OptunaSearch(space.Suggest(config), metric=aims[0], mode=aims[1], seed=study.seed)


def _listed(points: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {} if points is None else {"trial": tune.grid_search(points)}


def _common(setup: Setup) -> dict[str, Any]:
    study, train = _study(setup), setup.config.train
    assert study.concurrency is not None
    return {
        # PBT must have its whole population before it, and takes turns where not all of it fits: see `_resources`.
        "max_concurrent_trials": study.trials if setup.clones else study.concurrency,
        # Starting a process costs a trial more than a second; a worker group has its own processes.
        "reuse_actors": train.workers == 1,
        "trial_name_creator": _tune_name,
        "trial_dirname_creator": _tune_name,
    }


def _tune_name(trial: Trial) -> str:
    return str(trial.trial_id)


def _fit(name: str, setup: Setup, tuning: tune.TuneConfig, params: dict[str, Any], stop: threading.Event) -> None:
    """Runs Ray Tune to its end, from what an earlier session has left of it where there is something."""
    storage = setup.folder / "tune"
    if (storage / f"{name}.done").exists():
        return
    setup.stop.clear()
    trainable = tune.with_resources(tune.with_parameters(run_trial, setup=setup), _resources(setup))
    if tune.Tuner.can_restore(str(storage / name)):
        log.info("the search resumes where it stopped")
        tuner = tune.Tuner.restore(str(storage / name), trainable, resume_unfinished=True)
    else:
        shutil.rmtree(storage / name, ignore_errors=True)  # killed before Ray Tune's first snapshot
        running = tune.RunConfig(
            name=name,
            storage_path=str(storage),
            callbacks=[TrialLogger(setup.folder), *_trackers(setup)],
            # Of processes that died; a trial that fails for its own reason fails again at once, see `run_trial`.
            failure_config=tune.FailureConfig(max_failures=setup.config.train.max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT) if setup.clones else None,
            verbose=0,
        )
        tuner = tune.Tuner(trainable, param_space=params, tune_config=tuning, run_config=running)
    try:
        _watched(tuner, setup, stop)
    finally:
        setup.stop.clear()
    (storage / f"{name}.done").touch()


def _watched(tuner: tune.Tuner, setup: Setup, stop: threading.Event) -> None:
    """Waits for the search, and hands a request to stop on to the trials."""
    try:
        in_thread(tuner.fit, stop, setup.stop.set)
    except RaykdError:
        raise
    except Exception as error:
        raise RunError("study", one_line(error, 500), "see the log above") from error


def _trackers(setup: Setup) -> list[tune.Callback]:
    """MLflow and Weights & Biases through Ray's own integrations; TensorBoard's files are always written."""
    trackers, callbacks = setup.config.trackers, list[tune.Callback]()
    stay_offline()
    if trackers.mlflow is not None:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callbacks.append(MLflowLoggerCallback(tracking_uri=trackers.mlflow, experiment_name=setup.config.name))
    if trackers.wandb is not None:
        from ray.air.integrations.wandb import WandbLoggerCallback

        # The mode by name: the callback's actor does not see this process's environment.
        options: dict[str, Any] = {"dir": str(setup.folder), "mode": os.environ["WANDB_MODE"]}
        callbacks.append(WandbLoggerCallback(project=trackers.wandb, group=setup.config.name, **options))
    return callbacks


def _resources(setup: Setup) -> dict[str, float]:
    """What a trial's own process holds: its student, or next to nothing where a worker group has it."""
    config, train = setup.config, setup.config.train
    if train.workers > 1:
        return {"CPU": 0.01}
    cpus = train.worker_cpus
    if setup.clones:
        # Its share of all CPUs, so that no more run at once than are wanted; what its trained teachers need is left.
        teachers = sum(
            t.num_cpus for t, learns in zip(config.teachers, config.trainable_teachers, strict=True) if learns
        )
        share = ray.cluster_resources()["CPU"] / (_study(setup).concurrency or 1)
        cpus = max(cpus, share - config.trainer_ranks * teachers)
    return {"CPU": cpus, "GPU": train.worker_gpus, **train.worker_resources}


def _study(setup: Setup) -> StudyConfig:
    assert setup.config.study is not None
    return setup.config.study

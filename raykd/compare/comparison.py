"""The comparison of arms with a reference, from the folders of runs to a `CompareResult`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raykd.compare.arms import Arm, arms_of_runs, check_rows, common_split
from raykd.compare.bootstrap import (
    ALPHA,
    Measured,
    Scale,
    observed,
    p_value,
    percentile_interval,
    resampled_differences,
    resamples_of,
)
from raykd.compare.runs import ComparedRun, read_runs
from raykd.compare.significance import holm, mcnemar, verdict
from raykd.errors import ConfigError
from raykd.records.compare_result import ArmResult, CompareResult, DifferenceResult, DrawResult
from raykd.records.predictions import STUDENT
from raykd.records.run_result import ScoredSplit

FEW_DRAWS = 5


def compare(
    folders: Sequence[Path],
    reference: str | None = None,
    every_arm: bool | None = None,
    seed: int = 0,
    drawn: Sequence[str] = (),
) -> CompareResult:
    """Compares the arms of runs by their answers to the same rows.

    Of m differences each has a percentile interval of its own at 95 % and one at 1 − 0.05 / m, so that with 95 % all of
    these hold together (Bonferroni); p-values are adjusted by Holm. A difference is called higher or lower only where
    the second interval leaves out 0.

    Args:
        folders: of finished runs.
        reference: the arm that the others are compared with: its name, or a folder of its runs; default the first.
        every_arm: see `arms_of_runs`.
        seed: of the bootstrap.
        drawn: further keys in which draws of one arm differ.

    Raises:
        ConfigError: the folders cannot be compared, have fewer than two arms, or none is the reference.
    """
    arms = arms_of_runs(read_runs(folders, drawn), every_arm)
    if len(arms) < 2:
        mend = "give runs of several configurations, or --arms"
        raise ConfigError(str(folders[0]), "all runs are draws of one arm: there is nothing to compare", mend)
    base = _reference(arms, reference)
    split = common_split(arms)
    labels, first = check_rows(arms, split), arms[0].runs[0].result
    scale = Scale(first.metric, len(first.labels) if first.labels else 1)
    others = [arm for arm in arms if arm is not base]
    resamples = resamples_of(scale.metric)
    differences = [
        _difference(scale, labels, split, arm, base, alpha=ALPHA / len(others), resamples=resamples, seed=seed)
        for arm in others
    ]
    return CompareResult(
        metric=scale.metric,
        split=split,
        rows=len(labels),
        reference=base.name,
        arms=[_arm(scale, labels, split, arm) for arm in arms],
        differences=_adjusted(differences),
        alpha=ALPHA,
        resamples=resamples,
        seed=seed,
        warnings=_warnings(split, arms, differences),
    )


def _reference(arms: Sequence[Arm], name: str | None) -> Arm:
    if name is None:
        return arms[0]
    folder = Path(name).expanduser().resolve()
    named = [arm for arm in arms if arm.name == name]
    named += [arm for arm in arms if arm.model == STUDENT and any(run.folder == folder for run in arm.runs)]
    if not named:
        raise ConfigError(
            "--reference", f"no arm is named {name!r}", f"there are {', '.join(arm.name for arm in arms)}"
        )
    return named[0]


def _difference(
    scale: Scale,
    labels: np.ndarray,
    split: ScoredSplit,
    arm: Arm,
    base: Arm,
    *,
    alpha: float,
    resamples: int,
    seed: int,
) -> DifferenceResult:
    """An arm against the reference, p-values not adjusted yet; `alpha` is that of the simultaneous interval."""
    ours, theirs = (Measured(of_arm.predicted(split)) for of_arm in (arm, base))
    paired = arm.draws == base.draws
    resampled = resampled_differences(
        scale, labels, ours, theirs, paired=paired, resamples=resamples, seed=seed
    )  # fmt: skip
    simultaneous, p = percentile_interval(resampled, alpha), p_value(resampled)
    exact = None
    if scale.metric == "accuracy" and ours.draws == theirs.draws == 1:
        exact = mcnemar(ours.predicted[0] == labels, theirs.predicted[0] == labels)
    return DifferenceResult(
        arm=arm.name,
        value=float(observed(scale, labels, ours).mean() - observed(scale, labels, theirs).mean()),
        interval=percentile_interval(resampled, ALPHA),
        simultaneous=simultaneous,
        p=p,
        p_holm=p,
        mcnemar=exact,
        paired=paired,
        verdict=verdict(simultaneous),
    )


def _adjusted(differences: list[DifferenceResult]) -> list[DifferenceResult]:
    """With p-values adjusted over all differences; of McNemar's tests over those that have one."""
    exact = [difference.mcnemar for difference in differences if difference.mcnemar is not None]
    by_bootstrap, by_mcnemar = holm([difference.p for difference in differences]), iter(holm(exact))
    return [
        difference.model_copy(
            update={"p_holm": p, "mcnemar_holm": None if difference.mcnemar is None else next(by_mcnemar)}
        )
        for difference, p in zip(differences, by_bootstrap, strict=True)
    ]


def _arm(scale: Scale, labels: np.ndarray, split: ScoredSplit, arm: Arm) -> ArmResult:
    values = [float(value) for value in observed(scale, labels, Measured(arm.predicted(split)))]
    costs = [_cost(run, arm.model) for run in arm.runs]
    computed = [rows for _, rows, _ in costs if rows is not None]
    return ArmResult(
        name=arm.name,
        model=arm.model,
        settings=arm.settings,
        draws=[
            DrawResult(folder=str(run.folder), seed=run.draw[0], data_seed=run.draw[1], value=value)
            for run, value in zip(arm.runs, values, strict=True)
        ],
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        seconds=statistics.fmean(seconds for seconds, _, _ in costs),
        rows_computed=sum(computed) if computed else None,
        parameters=costs[0][2],
        labels=_labels(arm),
    )


def _labels(arm: Arm) -> int | None:
    """Labels that were read for a draw: the most of any, as ties in a draw may move one or two between holdouts."""
    budgets = [run.result.budgets[arm.model].total for run in arm.runs if arm.model in run.result.budgets]
    return max(budgets, default=None)


def _cost(run: ComparedRun, model: str) -> tuple[float, int | None, int | None]:
    """Seconds, rows computed by teachers, parameters of a run's student, baseline or teacher."""
    result = run.result
    if model == STUDENT:
        rows = sum(teacher.rows_computed for teacher in result.teachers)
        return result.efficiency.train_s, rows, result.student.parameters
    if model in result.baselines:
        baseline = result.baselines[model]
        return baseline.seconds, baseline.rows_computed, result.student.parameters
    teacher = next(entry for entry in result.teachers if model in (entry.name, f"teacher {entry.name}"))
    return teacher.seconds, teacher.rows_computed, teacher.parameters


def _warnings(split: ScoredSplit, arms: Sequence[Arm], differences: Sequence[DifferenceResult]) -> list[str]:
    """What a reader should know before believing an interval."""
    warnings = []
    if split == "validation":
        warnings.append("compared on validation, which chose the checkpoints: values are slightly too high")
    fewest = min(len(arm.runs) for arm in arms)
    if fewest == 1:
        warnings.append("an arm has a single draw: its interval covers chance in rows, not in seeds")
    elif fewest < FEW_DRAWS:
        warnings.append(f"an arm has only {fewest} draws: intervals are too narrow where draws differ much")
    unpaired = [difference.arm for difference in differences if not difference.paired]
    if unpaired:
        warnings.append(f"not paired by seeds, since the draws differ from the reference's: {', '.join(unpaired)}")
    return warnings

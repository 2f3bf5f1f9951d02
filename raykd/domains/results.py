"""What the students of all domains came to: values by domain, their means, intervals from the rows' answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from raykd.compare.bootstrap import ALPHA, Scale, resamples_of
from raykd.compare.domains import Answers, DomainDifferences, domain_differences, pooled, value_of
from raykd.config import RunConfig
from raykd.domains.plan import DomainRun
from raykd.errors import RunError
from raykd.records.domains_result import DomainResult, DomainsResult, ModelValues, SharedTeacherResult
from raykd.records.predictions import FILE, STUDENT, arms_of, read_predictions, teacher_arm
from raykd.records.run_result import BaselineResult, RunResult, ScoredSplit, TeacherResult, validation_value
from raykd.run.result import versions


def domains_result(
    config: RunConfig,
    runs: Sequence[DomainRun],
    teachers: list[SharedTeacherResult],
    *,
    concurrency: int,
    begun: float,
) -> DomainsResult:
    """The whole result, from the finished folders of all domains.

    Args:
        teachers: what their passes cost.
        begun: unix seconds of the session's start.

    Raises:
        RunError: a folder has no result, or its predictions lack a model.
    """
    finished = {run.domain: _finished(run) for run in runs}
    first = next(iter(finished.values()))
    split: ScoredSplit = "test" if all(r.reported_split == "test" for r in finished.values()) else "validation"
    answers = {run.domain: _answers(run, finished[run.domain], split) for run in runs}
    scale = Scale(first.metric, len(first.labels) if first.labels else 1)
    baselines = list(first.baselines)
    differences = domain_differences(scale, answers, baselines)
    domains = {run.domain: _domain(run, finished[run.domain], split, differences) for run in runs}
    return DomainsResult(
        name=config.name,
        metric=first.metric,
        split=split,
        rows=sum(domain.rows for domain in domains.values()),
        domains=domains,
        macro=_macro(list(domains.values()), differences),
        micro=_micro(scale, answers, first, differences),
        teachers=teachers,
        concurrency=concurrency,
        alpha=ALPHA,
        resamples=resamples_of(scale.metric),
        warnings=_warnings(finished, split),
        seed=config.seed,
        versions=versions("ray", "torch", "transformers"),
        seconds=time.time() - begun,
    )


def _finished(run: DomainRun) -> RunResult:
    result = run.folder.run_result()
    if result is None:
        raise RunError(str(run.folder.path), "has no result", "give the same command again")
    return result


def _answers(run: DomainRun, result: RunResult, split: ScoredSplit) -> Answers:
    predictions = read_predictions(run.folder.path)
    missing = [arm for arm in arms_of(result) if (arm, split) not in predictions]
    if missing:
        what = f"{FILE} has no answers of {missing[0]} on {split}"
        raise RunError(str(run.folder.path), what, "delete the folder and give the same command again")
    return {arm: predictions[arm, split] for arm in arms_of(result)}


def _domain(run: DomainRun, result: RunResult, split: ScoredSplit, differences: DomainDifferences) -> DomainResult:
    return DomainResult(
        folder=run.name,
        rows=result.rows_of(split),
        train_rows=result.splits["train"].rows if "train" in result.splits else 0,
        student=_value(result, result, split),
        baselines={name: _value(result, baseline, split) for name, baseline in result.baselines.items()},
        teachers={teacher.name: _value(result, teacher, split) for teacher in result.teachers},
        differences=differences.domains[run.domain],
        seconds=result.seconds,
    )


def _value(result: RunResult, model: RunResult | BaselineResult | TeacherResult, split: ScoredSplit) -> float | None:
    return (model.test or {}).get(result.metric) if split == "test" else validation_value(model)


def _macro(domains: Sequence[DomainResult], differences: DomainDifferences) -> ModelValues:
    """Means over domains, of models that have a value in each."""
    first = domains[0]
    return ModelValues(
        student=_mean([domain.student for domain in domains]),
        baselines={name: _mean([domain.baselines[name] for domain in domains]) for name in first.baselines},
        teachers={name: _mean([domain.teachers[name] for domain in domains]) for name in first.teachers},
        differences=differences.macro,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _micro(
    scale: Scale, answers: Mapping[str, Answers], first: RunResult, differences: DomainDifferences
) -> ModelValues:
    """The metric over the rows of all domains together."""
    values = {arm: value_of(scale, rows) for arm, rows in pooled(answers, arms_of(first)).items()}
    names = [teacher.name for teacher in first.teachers]
    return ModelValues(
        student=values[STUDENT],
        baselines={name: values[name] for name in first.baselines},
        teachers={name: values[teacher_arm(name, list(first.baselines))] for name in names},
        differences=differences.micro,
    )


def _warnings(finished: Mapping[str, RunResult], split: ScoredSplit) -> list[str]:
    """Those of the runs, each once with the domains that have it, and what an interval leaves out."""
    domains: dict[str, list[str]] = {}
    for domain, result in finished.items():
        for warning in result.warnings:
            domains.setdefault(warning, []).append(domain)
    warnings = [f"{', '.join(names)}: {warning}" for warning, names in domains.items()]
    if split == "validation":
        warnings.append("measured on validation, which chose the checkpoints: values are slightly too high")
    return warnings

"""What a study led to: a row for each trial, the best configuration with its spread over seeds, what sharing saved."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raykd.config import RunConfig
from raykd.errors import RunError
from raykd.files import replacing
from raykd.records.predictions import STUDENT, teacher_arm
from raykd.records.run_result import RunResult, TeacherResult
from raykd.records.study_result import BestResult, ConfigurationResult, Sharing, StudyResult, TrialCounts
from raykd.records.study_state import StudyState, TrialState
from raykd.run.folder import RunFolder
from raykd.run.result import gap_of, versions
from raykd.study.importance import importance
from raykd.study.shared import Shared
from raykd.study.trial import trial_folder

TABLE, BEST = "trials.parquet", "best"


def ranked(state: StudyState) -> list[TrialState]:
    """The finished trials of the search, the best first.

    Raises:
        RunError: none is finished.
    """
    done = [trial for trial in state.searched if trial.state == "done" and trial.value is not None]
    if not done:
        reasons = [trial.reason for trial in state.searched if trial.reason]
        what = "no trial came to its end" + (f"; the first: {reasons[0]}" if reasons else "")
        raise RunError("study", what, "mend that and study again in another folder")
    return sorted(done, key=lambda trial: (-(trial.value or 0.0), trial.number))


def repetitions(state: StudyState, config: RunConfig) -> list[dict[str, Any]]:
    """The best trials over further seeds, as {name, params, of}; a trial's own seed is one of them."""
    assert config.study is not None
    repeat = config.study.repeat
    out = []
    for trial in ranked(state)[: repeat.top_k]:
        seed = int(trial.params.get("seed", config.seed))
        for further in range(seed + 1, seed + repeat.seeds):
            params = {**trial.params, "seed": further}
            out.append({"name": f"{trial.name}-seed{further}", "params": params, "of": trial.name})
    return out


def table(state: StudyState, folder: Path) -> pd.DataFrame:
    """One row for each trial, repetitions too; written to trials.parquet."""
    rows = []
    for trial in state.all.values():
        result = RunFolder(trial_folder(folder, trial.name)).run_result()
        row: dict[str, Any] = {
            "trial": trial.name, "of": trial.of, "state": trial.state, "reason": trial.reason, "value": trial.value,
            "step": trial.step, "epoch": trial.epoch, "evaluations": len(trial.values), "asked": trial.asked,
            "parameters": trial.parameters, "latency_ms": trial.latency_ms,
            "seed": result.seed if result is not None else None, "begun": trial.begun, "seconds": trial.seconds,
        }  # fmt: skip
        row |= {f"score.{name}": value for name, value in (result.scores if result is not None else {}).items()}
        row |= {f"param.{key}": _plain(value) for key, value in trial.params.items()}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for column in [name for name in frame.columns if name.startswith("param.") and frame[name].dtype == object]:
        kinds = {type(value) for value in frame[column].dropna()}
        if len(kinds) > 1:  # parquet wants one type a column
            frame[column] = frame[column].map(lambda value: None if value is None or value != value else str(value))
    with replacing(folder / TABLE) as draft:
        frame.to_parquet(draft, index=False)
    return frame


@dataclass(frozen=True)
class Choice:
    """The configurations that a study chooses between.

    Attributes:
        best: the one with the best mean over its seeds.
        repeated: those that ran over several seeds, the best trial's first.
    """

    best: ConfigurationResult
    repeated: list[ConfigurationResult]

    @property
    def run(self) -> str:
        """The best configuration's best trial by name."""
        return max(self.best.runs, key=self.best.runs.__getitem__)


def choose(state: StudyState) -> Choice:
    """The best configuration, of the repeated ones where there are any.

    Raises:
        RunError: no trial is finished.
    """
    configurations = [_configuration(trial, state) for trial in ranked(state)]
    repeated = [configuration for configuration in configurations if len(configuration.values) > 1]
    return Choice(max(repeated or configurations[:1], key=lambda configuration: configuration.mean), repeated)


def study_result(
    state: StudyState,
    choice: Choice,
    config: RunConfig,
    shared: Shared,
    *,
    tests: dict[str, dict[str, float]],
    validation_rows: int,
    begun: float,
) -> StudyResult:
    """The whole result of a study.

    Args:
        tests: the scores of the best run and its teachers on the test split by arm, where there is one.
        validation_rows: that every metric is measured on.
        begun: unix seconds of the session's start.
    """
    study = config.study
    assert study is not None
    ended = {name: sum(trial.state == name for trial in state.searched) for name in ("done", "stopped", "failed")}
    test = tests.get(STUDENT)
    best = BestResult(
        **choice.best.model_dump(), run=choice.run, folder=BEST, test=None if test is None else dict(test)
    )
    teachers = [_tested(entry, tests.get(teacher_arm(entry.name, []))) for entry in shared.entries]
    return StudyResult(
        name=config.name,
        metric=config.task.best_by,
        value=best.mean,
        best=best,
        repeated=choice.repeated,
        trials=TrialCounts(**ended),
        searcher=study.searcher.type,
        scheduler=study.scheduler.type,
        minimize=study.minimize,
        space={key: values.model_dump(exclude_none=True, mode="json") for key, values in study.space.items()},
        importance=importance(state.searched, list(study.space)),
        front=front(state.searched),
        teachers=teachers,
        sharing=sharing(state, shared),
        validation_rows=validation_rows,
        concurrency=study.concurrency,
        warnings=shared.warnings,
        seed=study.seed,
        versions=versions("ray", "torch", "transformers", "optuna"),
        seconds=time.time() - begun,
    )


def best_run_result(trial: RunResult, study: StudyResult) -> RunResult:
    """The result of `best/`: the best trial's, as a run's, with the scores on the test split."""
    name, test = f"{study.name}, best", study.best.test
    tests = {teacher.name: teacher.test for teacher in study.teachers}
    teachers = [_tested(teacher, tests.get(teacher.name)) for teacher in trial.teachers]
    gap = gap_of(trial.metric, trial.value, test, trial.baselines, teachers)
    return trial.model_copy(
        update={"kind": "distill", "name": name, "test": test, "teachers": teachers, "gap": gap}
    )  # fmt: skip


def _tested(teacher: TeacherResult, test: Mapping[str, float | None] | None) -> TeacherResult:
    return teacher.model_copy(update={"test": None if test is None else dict(test)})


def front(trials: Sequence[TrialState]) -> dict[str, list[str]]:
    """By cost (parameters, latency) the finished trials that none beats in both the metric and that cost, cheapest
    first."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    out = {}
    for cost in ("parameters", "latency_ms"):
        known = sorted(
            (trial for trial in done if getattr(trial, cost) is not None),
            key=lambda trial: (getattr(trial, cost), -(trial.value or 0.0)),
        )
        best, kept = float("-inf"), []
        for trial in known:
            if (trial.value or 0.0) > best:
                best = trial.value or 0.0
                kept.append(trial.name)
        out[cost] = kept
    return out


def sharing(state: StudyState, shared: Shared) -> Sharing:
    """Rows that the teachers computed, beside what the same trials would have asked of teachers of their own."""
    computed = sum(entry.rows_computed for entry in shared.entries)
    wanted = computed + sum(entry.rows_reused for entry in shared.entries)
    seconds = sum(entry.seconds for entry in shared.entries)
    trials = len(state.all)
    each = seconds * wanted / computed if computed else 0.0
    return Sharing(
        trials=trials,
        rows_computed=computed,
        rows_wanted=wanted,
        rows_used=sum(trial.asked for trial in state.all.values()),
        rows_apart=wanted * trials,
        teacher_s=seconds,
        saved_s=max(0.0, each * trials - seconds),
        targets_s=shared.targets_s,
        trials_s=sum(trial.seconds for trial in state.all.values()),
    )


def _configuration(trial: TrialState, state: StudyState) -> ConfigurationResult:
    """A trial's configuration over its seeds."""
    others = [again for again in state.repeated if again.of == trial.name and again.state == "done"]
    runs = {run.name: run.value for run in (trial, *others) if run.value is not None}
    values = list(runs.values())
    return ConfigurationResult(
        trial=trial.name,
        params=trial.params,
        runs=runs,
        values=values,
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        parameters=trial.parameters,
        latency_ms=trial.latency_ms,
    )


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value

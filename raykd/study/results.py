"""What a study led to: a row for each trial, the best configuration with its spread over seeds, what sharing saved."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from raykd import __version__
from raykd.config import RunConfig
from raykd.errors import RunError
from raykd.files import replacing
from raykd.records.log import read_events
from raykd.records.study_state import StudyState, TrialState
from raykd.study.importance import importance
from raykd.study.shared import Shared

TABLE = "trials.parquet"


def read_state(folder: Path) -> StudyState:
    """Every trial as the study's log tells of it."""
    state = StudyState()
    for event in read_events(folder / "metrics.jsonl"):
        state.apply(event)
    return state


def ranked(state: StudyState) -> list[TrialState]:
    """The finished trials of the search, the best first.

    Raises:
        RunError: none is finished.
    """
    done = [one for one in state.searched if one.state == "done" and one.value is not None]
    if not done:
        reasons = [one.reason for one in state.searched if one.reason]
        what = "no trial came to its end" + (f"; the first: {reasons[0]}" if reasons else "")
        raise RunError("study", what, "mend that and study anew in another folder")
    return sorted(done, key=lambda one: (-(one.value or 0.0), one.number))


def repetitions(state: StudyState, config: RunConfig) -> list[dict[str, Any]]:
    """The best trials over further seeds, as {name, point, of}; a trial's own seed is one of them."""
    assert config.study is not None
    asked = config.study.repeat
    out = []
    for one in ranked(state)[: asked.top_k]:
        seed = int(one.params.get("seed", config.seed))
        for further in range(seed + 1, seed + asked.seeds):
            params = {**one.params, "seed": further}
            out.append({"name": f"{one.name}-seed{further}", "params": params, "of": one.name})
    return out


def table(state: StudyState, folder: Path) -> pd.DataFrame:
    """One row for each trial, repetitions too; written to trials.parquet."""
    rows = []
    for one in state.all.values():
        said = _result(folder, one)
        row: dict[str, Any] = {
            "trial": one.name, "of": one.of, "state": one.state, "reason": one.reason, "value": one.value,
            "step": one.step, "epoch": one.epoch, "evaluations": len(one.values), "asked": one.asked,
            "parameters": one.parameters, "latency_ms": one.latency_ms, "seed": said.get("seed"),
            "begun": one.begun, "seconds": one.seconds,
        }  # fmt: skip
        row |= {f"score.{name}": value for name, value in said.get("scores", {}).items()}
        row |= {f"param.{key}": _plain(value) for key, value in one.params.items()}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for column in [name for name in frame.columns if name.startswith("param.") and frame[name].dtype == object]:
        kinds = {type(value) for value in frame[column].dropna()}
        if len(kinds) > 1:  # parquet wants one type a column
            frame[column] = frame[column].map(lambda value: None if value is None or value != value else str(value))
    with replacing(folder / TABLE) as draft:
        frame.to_parquet(draft, index=False)
    return frame


def assemble(state: StudyState, config: RunConfig, shared: Shared, begun: float, validation: int) -> dict[str, Any]:
    """The content of a study's result.json; `best.test` is added by the caller.

    Args:
        validation: rows that every metric is measured on.

    Raises:
        RunError: no trial is finished.
    """
    study = config.study
    assert study is not None
    groups = [_group(one, state) for one in ranked(state)]
    repeated = [group for group in groups if len(group["values"]) > 1]
    best = max(repeated or groups[:1], key=lambda group: group["mean"])
    return {
        "name": config.name,
        "kind": "study",
        "status": "done",
        "metric": config.task.best_by,
        "value": best["mean"],
        "best": best,
        "repeated": repeated,
        "trials": {name: sum(one.state == name for one in state.searched) for name in ("done", "stopped", "failed")},
        "searcher": study.searcher.type,
        "scheduler": study.scheduler.type,
        "minimize": study.minimize,
        "space": {key: given.model_dump(exclude_none=True, mode="json") for key, given in study.space.items()},
        "importance": importance(state.searched, list(study.space)),
        "front": front(state.searched),
        "teachers": list(shared.entries),
        "sharing": sharing(state, shared),
        "validation_rows": validation,
        "concurrency": study.concurrency,
        "warnings": shared.warnings,
        "seed": study.seed,
        "seconds": time.time() - begun,
        "versions": {"raykd": __version__, "python": platform.python_version()}
        | {package: version(package) for package in ("ray", "torch", "transformers", "optuna")},
    }


def front(trials: Sequence[TrialState]) -> dict[str, list[str]]:
    """By cost (parameters, latency) the finished trials that none beats in both the metric and that cost, cheapest
    first."""
    done = [one for one in trials if one.state == "done" and one.value is not None]
    out = {}
    for cost in ("parameters", "latency_ms"):
        known = sorted(
            (one for one in done if getattr(one, cost) is not None),
            key=lambda one: (getattr(one, cost), -(one.value or 0.0)),
        )
        best, kept = float("-inf"), []
        for one in known:
            if (one.value or 0.0) > best:
                best = one.value or 0.0
                kept.append(one.name)
        out[cost] = kept
    return out


def sharing(state: StudyState, shared: Shared) -> dict[str, Any]:
    """Rows that the teachers computed, beside what the same trials would have asked of them otherwise.

    `rows_used` counts a row each time that a student took a teacher's answer for it; `rows_apart` what trials with a
    teacher and store of their own would have computed.
    """
    computed = sum(int(one["rows_computed"]) for one in shared.entries)
    wanted = sum(int(one["rows_computed"]) + int(one["rows_reused"]) for one in shared.entries)
    seconds = sum(float(one["seconds"]) for one in shared.entries)
    trials = len(state.all)
    each = seconds * wanted / computed if computed else 0.0
    return {
        "trials": trials,
        "rows_computed": computed,
        "rows_wanted": wanted,
        "rows_used": sum(one.asked for one in state.all.values()),
        "rows_apart": wanted * trials,
        "teacher_s": seconds,
        "saved_s": max(0.0, each * trials - seconds),
        "targets_s": shared.targets_s,
        "trials_s": sum(one.seconds for one in state.all.values()),
    }


def _group(one: TrialState, state: StudyState) -> dict[str, Any]:
    """A configuration over its seeds."""
    others = [again for again in state.repeated if again.of == one.name and again.state == "done"]
    runs = {run.name: run.value for run in (one, *others) if run.value is not None}
    values = list(runs.values())
    return {
        "trial": one.name,
        "params": one.params,
        "runs": runs,
        "values": values,
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "parameters": one.parameters,
        "latency_ms": one.latency_ms,
    }


def _result(folder: Path, one: TrialState) -> dict[str, Any]:
    path = folder / "trials" / one.name / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value

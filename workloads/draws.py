"""Runs of a configuration over draws of its data, one folder each, and their comparison."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raykd import api
from raykd import config as configuration
from raykd.records.run_result import RunResult

log = logging.getLogger(__name__)
TUNING_DRAW = 1000
"""The draw that settings are chosen on; it is not reported."""


def run(config: Path, folder: Path, overrides: Sequence[str]) -> RunResult:
    """All arms of one draw, without checkpoints; a finished folder returns its result."""
    result = api.distill(configuration.load(config, list(overrides)), folder)
    for heavy in (folder / "checkpoints", *folder.glob("baselines/*/checkpoints")):
        shutil.rmtree(heavy, ignore_errors=True)
    scores = {"student": result.test} | {name: arm.test for name, arm in result.baselines.items()}
    log.info("%s: %s", folder.name, {name: (score or {}).get(result.metric) for name, score in scores.items()})
    return result


def best(config: Path, output: Path, key: str, values: Sequence[str], overrides: Sequence[str], arm: str) -> str:
    """The value of a key with which an arm, `student` or a baseline, is best on the rows that choose its checkpoint."""
    if len(values) == 1:
        return values[0]
    scores: dict[str, float] = {}
    for value in values:
        result = run(config, output / f"tune-{key}-{value}", [*overrides, f"{key}={value}"])
        score = result.value if arm == "student" else result.baselines[arm].value
        scores[value] = float("-inf") if score is None else score
    log.info("%s by %s on the tuning draw: %s", key, arm, scores)
    return max(scores, key=lambda value: scores[value])


def write_table(output: Path, table: dict[str, Any]) -> None:
    """What is known so far, as table.json."""
    (output / "table.json").write_text(json.dumps(table, indent=1), encoding="utf-8")

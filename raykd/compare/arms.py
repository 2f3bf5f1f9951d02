"""Groups runs into arms: runs that differ only in seeds, name and places are draws of one treatment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raykd.compare.runs import ComparedRun
from raykd.errors import ConfigError
from raykd.records.predictions import STUDENT, teacher_arm
from raykd.records.run_result import RunResult, ScoredSplit

SEPARATORS = re.compile(r"[-_./ ]*(seed|draw|run)?[-_./ ]*$")


@dataclass(frozen=True)
class Arm:
    """A model of a treatment over its draws.

    Attributes:
        model: the arm in the predictions of its runs.
        settings: keys whose values differ between the treatments.
        runs: a draw each, in the order of their seeds.
    """

    name: str
    model: str
    settings: dict[str, Any]
    runs: list[ComparedRun]

    @property
    def draws(self) -> list[tuple[int, int]]:
        """Seed and data.seed of each draw."""
        return [run.draw for run in self.runs]

    def predicted(self, split: ScoredSplit) -> np.ndarray:
        """Its answers on a split, [draws, rows]."""
        return np.stack([run.predictions[self.model, split].predicted for run in self.runs])


def arms_of_runs(runs: Sequence[ComparedRun], every_arm: bool | None = None) -> list[Arm]:
    """The arms to be compared, in the order of the runs.

    Args:
        every_arm: baselines and teachers beside the students; by default where all runs are of one treatment.

    Raises:
        ConfigError: two runs are the same draw.
    """
    groups = _treatments(runs)
    names = _names([[run.result.name for run in group] for group in groups], [[r.folder for r in g] for g in groups])
    different = _different([group[0].settings for group in groups])
    every_arm = len(groups) == 1 if every_arm is None else every_arm
    arms = []
    for name, group, settings in zip(names, groups, different, strict=True):
        models = _models(group) if every_arm else {STUDENT: STUDENT}
        for title, model in models.items():
            alone = title if len(groups) == 1 else name if model == STUDENT else f"{name}, {title}"
            arms.append(Arm(alone, model, settings, [run for run in group if _has(run, model)]))
    return arms


def common_split(arms: Sequence[Arm]) -> ScoredSplit:
    """The split that arms are compared on: test where all have answers on it, else validation.

    Raises:
        ConfigError: an arm has no answers on validation either.
    """
    for split in ("test", "validation"):
        missing = [(arm.model, run) for arm in arms for run in arm.runs if (arm.model, split) not in run.predictions]
        if not missing:
            return "test" if split == "test" else "validation"
    model, run = missing[0]
    mend = "runs of earlier versions have those of the student alone: give --no-arms"
    raise ConfigError(str(run.folder), f"has no predictions of {model}", mend)


def check_rows(arms: Sequence[Arm], split: ScoredSplit) -> np.ndarray:
    """The labels of the rows that all arms have answered, [rows].

    Raises:
        ConfigError: the rows of two runs differ, or their labels.
    """
    first = arms[0].runs[0]
    answers = first.predictions[arms[0].model, split]
    for arm in arms:
        for run in arm.runs:
            what = _unequal(run, first, arm.model, arms[0].model, split)
            if what:
                mend = "compare runs on the same rows: one data set, and one data.seed where rows are held out of train"
                raise ConfigError(str(run.folder), f"its {split} {what} differ from those of {first.folder}", mend)
    return answers.labels


def _unequal(run: ComparedRun, first: ComparedRun, model: str, first_model: str, split: ScoredSplit) -> str:
    """What of a run's rows differs from the first run's; empty where nothing does."""
    prints = [_fingerprint(result, split) for result in (run.result, first.result)]
    if all(prints) and prints[0] != prints[1]:
        return "rows"
    ours, theirs = run.predictions[model, split], first.predictions[first_model, split]
    if not np.array_equal(ours.ids, theirs.ids):
        return "rows"
    return "" if np.array_equal(ours.labels, theirs.labels) else "labels"


def _fingerprint(result: RunResult, split: ScoredSplit) -> str:
    return result.splits[split].fingerprint if split in result.splits else ""


def _treatments(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """Runs with equal settings, each group in the order of its draws."""
    groups: list[list[ComparedRun]] = []
    for run in runs:
        group = next((group for group in groups if group[0].settings == run.settings), None)
        if group is None:
            groups.append([run])
            continue
        same = next((other for other in group if other.draw == run.draw), None)
        if same is not None:
            what = f"is the same draw as {same.folder}: seed {run.draw[0]}, data.seed {run.draw[1]}"
            raise ConfigError(str(run.folder), what, "give one of them")
        group.append(run)
    return [sorted(group, key=lambda run: run.draw) for group in groups]


def _models(group: Sequence[ComparedRun]) -> dict[str, str]:
    """Title and arm of the student, the baselines and the teachers of a treatment's runs."""
    models = {STUDENT: STUDENT}
    for run in group:
        baselines = list(run.result.baselines)
        models |= {f"baseline {name}": name for name in baselines}
        models |= {f"teacher {entry.name}": teacher_arm(entry.name, baselines) for entry in run.result.teachers}
    return models


def _has(run: ComparedRun, model: str) -> bool:
    return model == STUDENT or any(arm == model for arm, _ in run.predictions)


def _different(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each treatment the keys whose values are not the same in all; a key that it does not have is None."""
    keys = list(dict.fromkeys(key for each in settings for key in each))
    differing = [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]
    return [{key: each.get(key) for key in differing} for each in settings]


def _names(names: Sequence[Sequence[str]], folders: Sequence[Sequence[Path]]) -> list[str]:
    """A name for each group: what its runs' names have in common, else their folders, else the first folder."""
    parts = [str(folder) for group in folders for folder in group]
    root = Path(os.path.commonpath(parts)) if len(parts) > 1 else folders[0][0].parent
    places = [[folder.relative_to(root).as_posix() for folder in group] for group in folders]
    ways: tuple[Callable[[], list[str]], ...] = (
        lambda: [_common(group) for group in names],
        lambda: [_common(group) for group in places],
        lambda: [group[0] for group in places],
    )
    for way in ways:
        candidates = way()
        if all(candidates) and len(set(candidates)) == len(candidates):
            return candidates
    return [f"arm {k + 1}" for k in range(len(names))]


def _common(names: Sequence[str]) -> str:
    """What names begin with, all of them, without separators and `seed` at its end; a single name whole."""
    if len(set(names)) == 1:
        return names[0]
    first, last = min(names), max(names)
    same = (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return SEPARATORS.sub("", first[: next(same, len(first))])

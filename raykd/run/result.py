"""The result of a run or trial, from what its students and teachers gave (docs/design.md, "result.json")."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix

from raykd import __version__, models
from raykd.config import RunConfig
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.records.run_result import (
    BaselineResult,
    DataResult,
    Efficiency,
    FeedbackResult,
    Gap,
    ModelSize,
    RunResult,
    SplitUse,
    TeacherResult,
    WeightingResult,
)
from raykd.teachers.serving.client import TeacherClient
from raykd.teachers.serving.session import TeacherSession, TeacherStatus
from raykd.training.evaluate import predict
from raykd.training.job import Outcome, Subset


@dataclass(frozen=True)
class Arm:
    """One trained student: the distilled one or a baseline."""

    outcome: Outcome
    signal: Subset

    @property
    def logits(self) -> np.ndarray:
        """The best checkpoint's logits on the validation rows."""
        return np.load(Path(self.outcome.best) / "logits.npy")

    @property
    def samples_per_s(self) -> float:
        """Rows of all workers per second of training."""
        return self.outcome.samples / self.outcome.train_s if self.outcome.train_s else 0.0


def teacher_result(served: TeacherStatus, session: TeacherSession, task: Task) -> TeacherResult:
    """What a teacher is, how good it is on the validation rows, and what its soft targets cost."""
    source = session.source(served, "validation")
    client = TeacherClient(source)
    ids = source.wanted
    logits = client.get(ids)
    client.close()
    labels = Subset(source.split, ids).rows().labels(ids)
    scores = task.scores(logits, labels)
    cost = served.cost
    return TeacherResult(
        name=served.teacher.name,
        metric=scores[task.best_by],
        scores=scores,
        version=served.teacher.version,
        forwards=cost.forwards,
        rows_computed=cost.rows_computed,
        rows_reused=session.rows_wanted() - cost.rows_computed,
        seconds=cost.seconds,
        parameters=served.teacher.parameters,
        address=served.teacher.address(source.split.fingerprint).digest,
    )


def run_result(
    config: RunConfig,
    corpus: Corpus,
    task: Task,
    teachers: Sequence[TeacherResult],
    arms: dict[str, Arm],
    test: dict[str, float] | None,
    warnings: list[str],
    *,
    begun: float,
    targets_s: float | None = None,
    kind: Literal["distill", "trial"] = "distill",
    latency_ms: float | None = None,
) -> RunResult:
    """The whole result of a run or trial; the only place where one is put together.

    Args:
        arms: `student`, and the baselines by name.
        test: scores on the test split, where there is one and it is scored.
        begun: unix seconds of the session's start.
        targets_s: seconds of the teachers' pass.
        latency_ms: of the student on the CPU, where it was measured.
    """
    student, extras = arms["student"], arms["student"].outcome.extras
    outcome, signal = student.outcome, student.signal
    labels = signal.rows().labels(signal.ids)
    classes = task.classes > 1
    return RunResult(
        kind=kind,
        name=config.name,
        metric=task.best_by,
        value=outcome.best_value,
        scores=dict(outcome.best_scores),
        test=None if test is None else dict(test),
        best_step=outcome.best_step,
        steps=outcome.step,
        epochs=outcome.epochs,
        teachers=list(teachers),
        baselines={name: _baseline_result(arm) for name, arm in arms.items() if name != "student"},
        gap=_gap(teachers, arms),
        efficiency=_efficiency(student, targets_s),
        student=ModelSize(**models.describe(Path(outcome.best)), latency_ms=latency_ms),
        splits=_splits(corpus, config),
        data=DataResult(overlap=corpus.overlap, fingerprint=corpus.splits["train"].fingerprint),
        feedback=FeedbackResult(**extras["feedback"]) if "feedback" in extras else None,
        weighting=WeightingResult(**extras["weighting"]) if "weighting" in extras else None,
        warnings=[*corpus.warnings, *warnings, *_weak_teachers(teachers, task, labels)],
        confusion=confusion_matrix(labels, student.logits.argmax(1), labels=range(task.classes)).tolist()
        if classes
        else None,
        labels=list(task.labels) if classes else None,
        seed=config.seed,
        versions=versions("ray", "torch", "transformers"),
        seconds=time.time() - begun,
    )


def versions(*packages: str) -> dict[str, str]:
    """The versions of raykd, Python and these packages."""
    return {"raykd": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def _baseline_result(arm: Arm) -> BaselineResult:
    outcome = arm.outcome
    return BaselineResult(
        value=outcome.best_value,
        scores=dict(outcome.best_scores),
        seconds=outcome.train_s,
        samples_per_s=arm.samples_per_s,
    )


def _gap(teachers: Sequence[TeacherResult], arms: dict[str, Arm]) -> Gap:
    """How much of the way from the student alone to the best teacher was made."""
    best = max((teacher.metric for teacher in teachers if teacher.metric is not None), default=None)
    student = arms["student"].outcome.best_value
    alone = arms["alone"].outcome.best_value if "alone" in arms else None
    closed = None
    if alone is not None and best is not None and best > alone:
        closed = (student - alone) / (best - alone)
    return Gap(teacher=best, alone=alone, student=student, closed=closed)


def _efficiency(student: Arm, targets_s: float | None) -> Efficiency:
    """How close the student came to one that needs no teacher: the time that its own steps spent on targets is taken
    off. Not the speed of the baseline `alone`, which ran at another time: a busy machine would make the ratio."""
    outcome, timers = student.outcome, student.outcome.timers
    own_s = max(1e-9, outcome.train_s - timers.wait_s - timers.targets_s - timers.feedback_s)
    return Efficiency(
        samples_per_s=student.samples_per_s,
        student_only_samples_per_s=outcome.samples / own_s,
        ratio=own_s / outcome.train_s if outcome.train_s else 0.0,
        wait_share=timers.wait_s / outcome.train_s if outcome.train_s else 0.0,
        hit_rate=timers.hits / timers.asked if timers.asked else 1.0,
        train_s=outcome.train_s,
        feedback_s=timers.feedback_s,
        targets_s=targets_s,
        asked=timers.asked,
    )


def _splits(corpus: Corpus, config: RunConfig) -> dict[str, SplitUse]:
    used = {
        "train": ["student"] + (["teachers"] if any(t.prepare == "finetune" for t in config.teachers) else []),
        "validation": ["evaluation", "best checkpoint"],
        "quiz": _quiz_used_for(config),
        "reward": _reward_used_for(config),
        "test": ["scored once, at the end"],
    }
    return {
        purpose: SplitUse(split=corpus.source[purpose], rows=len(ids), used_for=used[purpose])
        for purpose, ids in corpus.ids.items()
        if len(ids)
    }


def _quiz_used_for(config: RunConfig) -> list[str]:
    used = ["feedback to the teachers"] if config.feedback.needs_quiz else []
    return [*used, "the policy's reward"] if config.policy_shares_quiz else used


def _reward_used_for(config: RunConfig) -> list[str]:
    fits = [rule.type for rule in (config.weighting, *config.baseline_weightings.values()) if rule.fitted]
    used = [f"fitting {', '.join(dict.fromkeys(fits))}"] if fits else []
    if config.weighting.type == "policy" and config.needs_reward_split:
        used.append("the policy's reward")
    return used


def _weak_teachers(teachers: Sequence[TeacherResult], task: Task, labels: np.ndarray) -> list[str]:
    """A warning for each teacher that is no better than the majority class."""
    floor = task.majority(labels)
    return [
        f"teacher {teacher.name}: {task.best_by} {teacher.metric:.3f} on validation is no better than always"
        f" answering the commonest ({floor:.3f}); are its labels in the right order?"
        for teacher in teachers
        if teacher.metric is not None and teacher.metric <= floor
    ]


def save_predictions(path: Path, student: Path, signal: Subset, task: Task) -> None:
    """The best student's answers on the validation rows, as parquet."""
    logits = np.load(student / "logits.npy")
    columns: dict[str, Any] = {"id": signal.ids, "label": signal.rows().labels(signal.ids)}
    if task.classes == 1:
        columns["prediction"] = logits[:, 0]
    else:
        columns["prediction"] = logits.argmax(1)
        probabilities = torch.softmax(torch.from_numpy(logits), -1).numpy()
        columns |= {f"prob_{label}": probabilities[:, c] for c, label in enumerate(task.labels)}
    pd.DataFrame(columns).to_parquet(path, index=False)


def score_test(corpus: Corpus, task: Task, student: Path, max_length: int) -> dict[str, float] | None:
    """The best student on the test split, where there is one."""
    return score(student, Subset.of(corpus, "test"), task, max_length) if "test" in corpus.ids else None


def score(checkpoint: Path, signal: Subset, task: Task, max_length: int) -> dict[str, float]:
    """A checkpoint's scores on given rows."""
    model, tokenizer = models.load(checkpoint, torch.float32)
    rows = signal.rows()
    logits = predict(model, Encoder(tokenizer, rows, max_length), signal.ids, torch.device("cpu"))
    return task.scores(logits, rows.labels(signal.ids))

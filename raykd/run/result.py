"""The result of a run or trial, from what its students and teachers gave (docs/design.md, "result.json")."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from raykd import __version__, models
from raykd.config import RunConfig, TrainedTeacherConfig
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.records.events import Scores
from raykd.records.features_result import FeaturesResult
from raykd.records.run_result import (
    BaselineResult,
    DataResult,
    Efficiency,
    EndpointResult,
    FeedbackResult,
    Gap,
    GroupResult,
    ModelSize,
    RunResult,
    SplitUse,
    TeacherResult,
    TrainedTeacherResult,
    WeightingResult,
)
from raykd.run.budget import label_budgets, teachers_seen
from raykd.run.implementations import check_classes
from raykd.teachers.prototype_report import load_prototype_report
from raykd.teachers.rows import teacher_rows
from raykd.teachers.serving.session import TeacherSession, TeacherStatus
from raykd.training.job import Outcome, Subset


@dataclass(frozen=True)
class Arm:
    """One trained student: the distilled one or a baseline.

    Attributes:
        signal: the validation rows.
        teachers, rows_computed: see `BaselineResult`.
    """

    outcome: Outcome
    signal: Subset
    teachers: dict[str, TrainedTeacherResult] = field(default_factory=dict)
    rows_computed: int | None = None

    @property
    def logits(self) -> np.ndarray:
        """The best checkpoint's logits on the validation rows."""
        return np.load(Path(self.outcome.best) / "logits.npy")

    @property
    def samples_per_s(self) -> float:
        """Rows of all workers per second of training."""
        return self.outcome.samples / self.outcome.train_s if self.outcome.train_s else 0.0


def teacher_result(
    served: TeacherStatus, session: TeacherSession, scores: dict[str, dict[str, float]], task: Task
) -> TeacherResult:
    """What a teacher is, how good it is, and what its soft targets cost.

    Args:
        scores: on validation, and on test where the result has that.
    """
    cost, texts = served.cost, session.requests["validation"].split.texts
    endpoint = served.teacher.endpoint
    return TeacherResult(
        name=served.teacher.name,
        metric=scores["validation"][task.best_by],
        scores=dict(scores["validation"]),
        test=_known(scores.get("test")),
        version=served.teacher.version,
        forwards=cost.forwards,
        rows_computed=cost.rows_computed,
        rows_reused=session.rows_wanted() - cost.rows_computed,
        seconds=cost.seconds,
        parameters=served.teacher.parameters,
        address=served.teacher.address(texts).digest,
        prototypes=None if endpoint is not None else load_prototype_report(Path(served.teacher.folder)),
        endpoint=None if endpoint is None else EndpointResult(**endpoint.summary),
    )


def run_result(
    config: RunConfig,
    corpus: Corpus,
    task: Task,
    teachers: Sequence[TeacherResult],
    arms: dict[str, Arm],
    tests: dict[str, dict[str, float]],
    warnings: list[str],
    *,
    begun: float,
    targets_s: float | None = None,
    kind: Literal["distill", "trial"] = "distill",
    latency_ms: float | None = None,
    features: FeaturesResult | None = None,
) -> RunResult:
    """The whole result of a run or trial; the only place where one is put together.

    Args:
        arms: `student`, and the baselines by name.
        tests: scores on the test split by arm, where there is one and it is scored.
        begun: unix seconds of the session's start.
        targets_s: seconds of the teachers' pass.
        latency_ms: of the student on the CPU, where it was measured.
        features: what was matched inside a teacher, and its cost.
    """
    student, extras = arms["student"], arms["student"].outcome.extras
    outcome, signal = student.outcome, student.signal
    labels = signal.labels()
    classes, test = task.classes > 1, _known(tests.get("student"))
    left_out = check_classes(config.objective, task)
    baselines = {name: _baseline_result(arm, tests.get(name)) for name, arm in arms.items() if name != "student"}
    return RunResult(
        kind=kind,
        name=config.name,
        metric=task.best_by,
        value=outcome.best_value,
        scores=dict(outcome.best_scores),
        test=test,
        best_step=outcome.best_step,
        steps=outcome.step,
        epochs=outcome.epochs,
        teachers=list(teachers),
        baselines=baselines,
        gap=gap_of(task.best_by, outcome.best_value, test, baselines, teachers),
        efficiency=_efficiency(student, targets_s),
        student=ModelSize(**models.describe(Path(outcome.best)), latency_ms=latency_ms),
        splits=_splits(corpus, config),
        budgets=label_budgets(config, corpus, arms),
        seen=teachers_seen(config, corpus),
        data=DataResult(
            overlap=corpus.overlap,
            fingerprint=corpus.splits["train"].fingerprint,
            groups=group_result(corpus),
            target_domain=corpus.target,
        ),
        feedback=FeedbackResult(**extras["feedback"]) if "feedback" in extras else None,
        weighting=WeightingResult(**extras["weighting"]) if "weighting" in extras else None,
        features=features,
        warnings=[*corpus.warnings, *left_out, *warnings, *_weak_teachers(teachers, task, labels)],
        confusion=confusion_matrix(labels, student.logits.argmax(1), labels=range(task.classes)).tolist()
        if classes
        else None,
        labels=list(task.labels) if classes else None,
        seed=config.seed,
        versions=versions("ray", "torch", "transformers"),
        seconds=time.time() - begun,
    )


def group_result(corpus: Corpus) -> GroupResult | None:
    """The groups that were kept together, and what of the held-out rows stands inside the others all the same."""
    if corpus.groups is None:
        return None
    return GroupResult(by=corpus.groups.key, groups=corpus.groups.total, inside=corpus.inside)


def versions(*packages: str) -> dict[str, str]:
    """The versions of raykd, Python and these packages."""
    return {"raykd": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def gap_of(
    metric: str,
    value: float | None,
    test: Scores | None,
    baselines: dict[str, BaselineResult],
    teachers: Sequence[TeacherResult],
) -> Gap:
    """How much of the way from the student alone to the best teacher was made, on test where every model has a score
    on it, else on validation. Which teacher is best, validation decides.

    Args:
        value: of the student on validation.
        test: its scores on the test split.
    """
    alone, best = baselines.get("alone"), _best(teachers)
    values = [value, alone.value if alone else None, best.metric if best else None]
    on_test = all([test, *(baseline.test for baseline in baselines.values()), *(teacher.test for teacher in teachers)])
    if on_test:
        scores = [test, alone.test if alone else None, best.test if best else None]
        values = [(of_model or {}).get(metric) for of_model in scores]
    student, without, teacher = values
    closed = None
    if student is not None and without is not None and teacher is not None and teacher > without:
        closed = (student - without) / (teacher - without)
    return Gap(
        split="test" if on_test else "validation", teacher=teacher, alone=without, student=student, closed=closed
    )


def _best(teachers: Sequence[TeacherResult]) -> TeacherResult | None:
    known = [teacher for teacher in teachers if teacher.metric is not None]
    return max(known, key=lambda teacher: teacher.metric or 0.0, default=None)


def _known(scores: dict[str, float] | None) -> Scores | None:
    return None if scores is None else dict(scores)


def _baseline_result(arm: Arm, test: dict[str, float] | None) -> BaselineResult:
    outcome = arm.outcome
    return BaselineResult(
        value=outcome.best_value,
        scores=dict(outcome.best_scores),
        test=_known(test),
        seconds=outcome.train_s,
        samples_per_s=arm.samples_per_s,
        teachers=arm.teachers,
        rows_computed=arm.rows_computed,
    )


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
    finetuned = [teacher for teacher in config.teachers if isinstance(teacher, TrainedTeacherConfig)]
    shared = any(
        teacher.finetune.max_train_rows is None
        and np.isin(teacher_rows("train", teacher, corpus).ids, corpus.ids["train"]).any()
        for teacher in finetuned
    )
    used = {
        "train": ["student", "teachers"] if shared else ["student"],  # one with a budget of its own: see `seen`
        "validation": ["evaluation", "best checkpoint"],
        "quiz": _quiz_used_for(config),
        "reward": _reward_used_for(config),
        "unlabeled": ["student, by its teachers' answers"],
        "test": ["scored once, at the end"],
    }
    return {
        purpose: SplitUse(
            split=corpus.source[purpose],
            rows=len(ids),
            used_for=used[purpose],
            fingerprint=corpus.splits[corpus.source[purpose]].fingerprint,
        )
        for purpose, ids in corpus.ids.items()
        if len(ids)
    }


def _quiz_used_for(config: RunConfig) -> list[str]:
    used = ["feedback to the teachers"] if config.feedback.needs_quiz else []
    if "quiz_teacher" in config.baselines:
        used.append("the teachers of baseline quiz_teacher")
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

"""Who read how many labels: the student's side, its teachers and the choice of checkpoint, for every arm of a run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raykd.config import FinetunedTeacherConfig, PolicyConfig, RunConfig
from raykd.data.corpus import Corpus
from raykd.records.run_result import LabelBudget
from raykd.run.arms import baseline_signals, baseline_weighting, student_signals
from raykd.teachers.finetune import teacher_rows

UNKNOWN = "unknown"
"""What a teacher that was given has been fitted on."""


def label_budgets(config: RunConfig, corpus: Corpus, arms: Iterable[str]) -> dict[str, LabelBudget]:
    """By arm (`student`, baselines by name) the distinct labels that were read for it, by reader."""
    return {arm: _budget(config, corpus, arm) for arm in arms}


def teachers_seen(config: RunConfig, corpus: Corpus) -> dict[str, list[str]]:
    """By teacher's name the splits that it was fitted on; `unknown` of one that was given and says nothing."""
    seen = {}
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        if isinstance(teacher, FinetunedTeacherConfig):
            own = teacher.finetune.max_train_rows is not None
            seen[name] = ["train, a budget of its own" if own else "train"]
        else:
            seen[name] = list(getattr(teacher, "seen", None) or [UNKNOWN])
    return seen


def _budget(config: RunConfig, corpus: Corpus, arm: str) -> LabelBudget:
    read: dict[str, np.ndarray] = {}
    signals = student_signals(config) if arm == "student" else baseline_signals(config, arm)
    learnt = [corpus.ids[name] for name in signals if name != "unlabeled" and name in corpus.ids]
    if arm in ("alone", "pseudo") or config.objective.alpha < 1 or _weighs_by_label(config, arm):
        read["student"] = np.concatenate(learnt)
    if arm == "student":
        if config.feedback.type != "none":
            read["quiz"] = corpus.ids["quiz" if config.feedback.needs_quiz else "train"]
        if isinstance(config.weighting, PolicyConfig):
            if config.needs_reward_split:
                read["reward"] = corpus.ids["reward"]
            elif config.weighting.reward.type != "influence":  # which takes its gradient from the quiz then
                read["reward"] = corpus.ids["train"]
    rule = config.weighting if arm == "student" else baseline_weighting(config, arm)
    if rule is not None and rule.fitted:
        read["fitted rule"] = corpus.ids["reward"]
    if arm != "alone":
        for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
            if isinstance(teacher, FinetunedTeacherConfig):
                read[f"teacher {name}"] = teacher_rows("train", teacher, corpus).ids
    read["choice of checkpoint"] = corpus.ids["validation"]
    of_train = [ids for reader, ids in read.items() if reader != "choice of checkpoint"]
    if corpus.source["validation"] == "train":
        of_train.append(corpus.ids["validation"])
    total = len(np.unique(np.concatenate([np.empty(0, np.int64), *of_train])))
    total += len(corpus.ids["validation"]) if corpus.source["validation"] != "train" else 0
    return LabelBudget(total=total, read={reader: len(ids) for reader, ids in read.items()})


def _weighs_by_label(config: RunConfig, arm: str) -> bool:
    rule = config.weighting if arm == "student" else baseline_weighting(config, arm)
    return rule is not None and (rule.needs_labels or rule.type == "confidence")

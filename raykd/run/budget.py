"""Who read how many labels: the student's side, its teachers and the choice of checkpoint, for every arm of a run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raykd.config import EndpointTeacherConfig, GivenTeacherConfig, PolicyConfig, RunConfig, TrainedTeacherConfig
from raykd.data.corpus import Corpus
from raykd.records.run_result import LabelBudget
from raykd.run.arms import baseline_signals, baseline_weighting, rows_of, student_signals
from raykd.teachers.rows import domain_names, teacher_rows

UNKNOWN = "unknown"
"""What a teacher that was made elsewhere has been fitted on."""


def label_budgets(config: RunConfig, corpus: Corpus, arms: Iterable[str]) -> dict[str, LabelBudget]:
    """By arm (`student`, baselines by name) the distinct labels that were read for it, by reader."""
    return {arm: _budget(config, corpus, arm) for arm in arms}


def teachers_seen(config: RunConfig, corpus: Corpus) -> dict[str, list[str]]:
    """By teacher's name the splits that it was fitted on; `unknown` of one that was made elsewhere and says nothing.
    Those that `quiz_teacher` trains have entries of their own, `NAME of quiz_teacher`."""
    seen = {}
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        if isinstance(teacher, TrainedTeacherConfig):
            own = ", a budget of its own" if teacher.finetune.max_train_rows is not None else ""
            seen[name] = [f"train{_domains(teacher, corpus)}{own}"]
        elif isinstance(teacher, (GivenTeacherConfig, EndpointTeacherConfig)):
            seen[name] = teacher.seen or [UNKNOWN]
    if "quiz_teacher" in config.baselines:
        seen |= {f"{name} of quiz_teacher": [*seen.get(name, []), "quiz"] for name in config.learning_teachers}
    return seen


def _domains(teacher: TrainedTeacherConfig, corpus: Corpus) -> str:
    """Of which domains a teacher's rows are, where these are not those of the student."""
    if teacher.leave_out is not None:
        return f" of all domains but {', '.join(domain_names(teacher.leave_out, corpus))}"
    if corpus.target is None:
        return ""
    return " of all domains" if teacher.domains is None else f" of {', '.join(domain_names(teacher.domains, corpus))}"


def _budget(config: RunConfig, corpus: Corpus, arm: str) -> LabelBudget:
    rule = config.weighting if arm == "student" else baseline_weighting(config, arm)
    signals = student_signals(config) if arm == "student" else baseline_signals(config, arm)
    read: dict[str, np.ndarray] = {}
    if arm in ("alone", "pseudo") or config.objective.alpha < 1 or (rule is not None and rule.reads_labels):
        read["student"] = rows_of(corpus, [signal for signal in signals if signal != "unlabeled"]).ids
    if arm == "student":
        if config.feedback.type != "none":
            read["quiz"] = corpus.ids["quiz" if config.feedback.needs_quiz else "train"]
        if isinstance(config.weighting, PolicyConfig):
            if config.needs_reward_split:
                read["reward"] = corpus.ids["reward"]
            elif config.weighting.reward.type != "influence":  # which takes its gradient from the quiz then
                read["reward"] = corpus.ids["train"]
    if rule is not None and rule.fitted:
        read["fitted rule"] = corpus.ids["reward"]
    if arm != "alone":
        read |= _read_by_teachers(config, corpus, arm)
    read |= _read_by_choices(config, corpus, arm)
    total = len(np.unique(np.concatenate(list(read.values()))))
    return LabelBudget(total=total, read={reader: len(ids) for reader, ids in read.items()})


def _read_by_teachers(config: RunConfig, corpus: Corpus, arm: str) -> dict[str, np.ndarray]:
    """Reader → ids of the training file whose labels the teachers of an arm were fitted on here."""
    read: dict[str, np.ndarray] = {}
    for name, teacher in zip(config.teacher_names, config.teachers, strict=True):
        own = [teacher_rows("train", teacher, corpus).ids] if isinstance(teacher, TrainedTeacherConfig) else []
        if arm == "quiz_teacher" and name in config.learning_teachers:
            own.append(corpus.ids["quiz"])
        if own:
            read[f"teacher {name}"] = np.unique(np.concatenate(own))
    return read


def _read_by_choices(config: RunConfig, corpus: Corpus, arm: str) -> dict[str, np.ndarray]:
    """Reader → places of the validation rows that chose a checkpoint, of the student or of a teacher: in the training
    file, and behind it those of a validation with a file of its own."""
    beyond = 0 if corpus.source["validation"] == "train" else corpus.splits["train"].rows
    ids = corpus.ids["validation"]
    read = {"choice of checkpoint": ids + beyond}
    finetuned = [] if arm == "alone" else [t for t in config.teachers if isinstance(t, TrainedTeacherConfig)]
    of_teachers = [teacher_rows("validation", teacher, corpus).ids for teacher in finetuned]
    further = np.setdiff1d(np.concatenate([ids, *of_teachers]), ids)
    if len(further):
        read["choice of a teacher's checkpoint, other domains"] = further + beyond
    return read

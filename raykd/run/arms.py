"""The arms of a run: which rows the student and each baseline train on, and for how many steps (docs/design.md)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raykd.config import RunConfig, TrainConfig, UniformConfig, WeightingConfig
from raykd.data.corpus import Corpus
from raykd.training.job import Subset
from raykd.training.optim import steps_per_epoch, total_steps

LABELS_ONLY = ("alone", "labeled")
"""Baselines that have no use for rows without labels."""


def student_signals(config: RunConfig) -> list[str]:
    """The parts of the training file that the student learns from."""
    return ["train"] if config.data.unlabeled is None else ["train", "unlabeled"]


def baseline_signals(config: RunConfig, name: str) -> list[str]:
    """The parts that a baseline learns from: the held-out ones too, since it has no use for a quiz or a reward, but a
    rule that is fitted on the reward split leaves that out, and `quiz_teacher` has the student's own rows: its teachers
    have read the quiz."""
    if name == "quiz_teacher":
        return student_signals(config)
    rule = baseline_weighting(config, name)
    own = ["train"] if name in LABELS_ONLY else student_signals(config)
    return [*own, "quiz"] if rule is not None and rule.fitted else [*own, "quiz", "reward"]


def baseline_weighting(config: RunConfig, name: str) -> WeightingConfig | None:
    """How a baseline blends its teachers; None for one that has none.

    Where the student's weights come from a policy, its twins take all teachers equally: a policy of their own would
    be another difference.
    """
    if name == "alone":
        return None
    if name in config.baseline_weightings:
        return config.baseline_weightings[name]
    return UniformConfig() if config.weighting.type == "policy" else config.weighting


def rows_of(corpus: Corpus, signals: Iterable[str]) -> Subset:
    """The rows of the training file that feed these signals, ids ascending; signals that there are not give none."""
    parts = [corpus.ids[signal] for signal in signals if signal in corpus.ids and corpus.source[signal] == "train"]
    return Subset(corpus.splits["train"], parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)))


def student_rows(config: RunConfig, corpus: Corpus) -> Subset:
    """What the student learns from."""
    return rows_of(corpus, student_signals(config))


def baseline_rows(config: RunConfig, corpus: Corpus, name: str) -> Subset:
    """What a baseline learns from."""
    return rows_of(corpus, baseline_signals(config, name))


def baseline_training(config: RunConfig, rows: int, student_rows: int) -> TrainConfig:
    """How a baseline is trained: with `train.equal_steps` for as many steps as the student, and evaluated as often.

    Args:
        rows: that it is trained on.
        student_rows: that the student is trained on.
    """
    settings = config.train
    if not settings.equal_steps or rows == student_rows:
        return settings
    steps = total_steps(student_rows, settings)
    return settings.model_copy(
        update={
            "epochs": steps / steps_per_epoch(rows, settings),
            "max_steps": steps,
            "eval_every": settings.eval_every or steps_per_epoch(student_rows, settings),
        }
    )


def quiz_teacher_targets(config: RunConfig, corpus: Corpus) -> np.ndarray:
    """Ids of the training file whose soft targets the baseline `quiz_teacher` learns from, or its rule is fitted on."""
    rule = baseline_weighting(config, "quiz_teacher")
    fitted = ["reward"] if rule is not None and rule.fitted else []
    return rows_of(corpus, [*student_signals(config), *fitted]).ids


def target_rows(config: RunConfig, corpus: Corpus) -> np.ndarray:
    """Ids of the training file whose soft targets the student or a baseline learns from, or a rule is fitted on."""
    signals = dict.fromkeys(student_signals(config))
    for name in config.baselines:
        # `in_loop` calls its teachers itself.
        if name not in ("alone", "in_loop"):
            signals |= dict.fromkeys(baseline_signals(config, name))
    if any(rule.fitted for rule in (config.weighting, *config.baseline_weightings.values())):
        signals["reward"] = None
    return rows_of(corpus, signals).ids

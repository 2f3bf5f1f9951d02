"""What a teacher that is asked over HTTP cannot do: it gives the logits of rows, up to a constant for each, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.config.objective import MSEConfig
from raykd.config.teachers import EndpointTeacherConfig
from raykd.config.weighting import PolicyConfig

if TYPE_CHECKING:
    from raykd.config.run import RunConfig


def endpoint_refusal(config: RunConfig) -> str | None:
    """Why a run asks too much of an endpoint, beginning with the key; None where it does not."""
    named = list(zip(config.teacher_names, config.teachers, strict=True))
    endpoints = {name: teacher for name, teacher in named if isinstance(teacher, EndpointTeacherConfig)}
    if not endpoints:
        return None
    for name in config.learning_teachers:
        if name in endpoints:
            return f"feedback.teachers: {name} is an endpoint, which cannot be trained: name others, or no feedback"
    if "in_loop" in config.baselines:
        name = next(iter(endpoints))
        return f"baselines: in_loop runs its teachers in its own loop, and {name} is an endpoint: leave it out"
    features, policy = config.objective.features, config.weighting
    if features is not None and (features.teacher or named[0][0]) in endpoints:
        name = features.teacher or named[0][0]
        return f"objective.features.teacher: {name} is an endpoint, which answers logits alone: name another"
    if isinstance(policy, PolicyConfig) and policy.sentence_encoder is None:
        name = policy.sentence_teacher or named[0][0]
        if name in endpoints:
            mend = "name another, or set weighting.sentence_encoder"
            return f"weighting.sentence_teacher: {name} is an endpoint, which has no sentence vectors: {mend}"
    probabilities = [name for name, teacher in endpoints.items() if teacher.numbers == "probabilities"]
    if probabilities and config.task.type == "regression":
        return f"teachers: {probabilities[0]}: a regression has no probabilities: set outputs: logits"
    if probabilities and isinstance(config.objective, MSEConfig):
        why = "logits up to a constant are not enough for mse"
        return f"objective: {why}, and {probabilities[0]} answers probabilities: use kl, or outputs: logits"
    return None

"""What a loss that couples the rows of a batch does not go with: parts of a batch, and signals of a worker's rows."""

from __future__ import annotations

from raykd.config.feedback import FeedbackConfig, NoFeedbackConfig
from raykd.config.objective import ObjectiveConfig
from raykd.config.training import TrainConfig
from raykd.config.weighting import PolicyConfig, WeightingConfig


def coupling_refusal(
    objective: ObjectiveConfig, weighting: WeightingConfig, feedback: FeedbackConfig, train: TrainConfig
) -> str | None:
    """Why they do not go together, beginning with the key; None where they do.

    A step brings the logits of all workers together. Feedback and the rewards but r1 differentiate or compare the loss
    of a worker's own rows, which such a loss does not have.
    """
    if not objective.couples_batch:
        return None
    if train.gradient_accumulation > 1:
        return f"train.gradient_accumulation: {objective.type} compares the rows of a whole batch: set it to 1"
    signal = None if isinstance(feedback, NoFeedbackConfig) else f"feedback {feedback.type}"
    if isinstance(weighting, PolicyConfig) and weighting.reward.type != "r1":
        signal = f"reward {weighting.reward.type}"
    if signal is None or train.workers == 1:
        return None
    return f"objective: {objective.type} compares rows across workers, and {signal} does not: set train.workers=1"

"""How the K teachers are blended: the section `weighting` (docs/policy.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raykd.config.base import Section

RULES = ("uniform", "random", "confidence", "entropy", "oracle", "best", "logistic")
"""Rules that need nothing but their name: as `weighting`, and as baselines."""
FITTED = ("best", "logistic")
"""Rules that are fitted on the reward split before the student begins."""
CLASSES_ONLY = ("entropy", "logistic")
"""Rules without a meaning in a regression."""


Type = Literal["uniform", "fixed", "random", "confidence", "entropy", "oracle", "best", "logistic", "policy"]


class RewardConfig(Section):
    """What the policy is rewarded for, after the student's step."""

    shorthand = "type"

    type: Literal["r1", "r2", "r3"] = Field(
        "r1", description="r1: −CE; r2: −CE − KD; r3: γ·r2 + (1 − γ)·accuracy on the reward split"
    )
    every: int = Field(8, ge=1, description="student steps between two that are rewarded")
    gamma: float = Field(0.5, ge=0, le=1, description="γ of r3, the share of r2")
    batch_size: int = Field(64, ge=1, description="rows of the reward split that r3 draws each time")


class WeightingConfig(Section):
    """A rule, or a policy that is trained by the student's progress (RL-KD)."""

    shorthand = "type"

    type: Type = Field("uniform", description="the rule, or policy")
    weights: list[float] | None = Field(None, description="of fixed: one per teacher, normalised to sum 1")
    mode: Literal["sample", "prob", "greedy"] = Field(
        "sample", description="how the policy acts where it is not rewarded: a draw, π / Σπ, or π > 1/2"
    )
    reward: RewardConfig = Field(RewardConfig(), description="what the policy is rewarded for")
    student_warmup: int = Field(0, ge=0, description="first student steps with uniform weights and no policy")
    policy_warmup: int = Field(0, ge=0, description="steps after them where all teachers speak and the policy learns")
    lr: float = Field(0.02, gt=0, description="learning rate of the policy (Adam)")
    entropy_bonus: float = Field(0.01, ge=0, description="weight of the policy's entropy in its loss")
    clip_ratio: float = Field(
        0.2, gt=0, description="largest change of a choice's likelihood ratio that still counts (PPO)"
    )
    passes: int = Field(4, ge=1, description="gradient steps of an update on the same rows")
    update_every: int = Field(1, ge=1, description="rewarded steps between two updates of the policy")
    student_state: bool = Field(
        False, description="the policy sees the student's entropy and its distance from each teacher: one more forward"
    )
    sentence_teacher: str | None = Field(None, description="whose pooled state is the sentence vector; null: the first")
    sentence_encoder: str | None = Field(None, description="a hub name or folder of an encoder in its place")
    cross_fit: int = Field(0, ge=0, description="folds for honest losses of fine-tuned teachers in the state; 0: none")
    start_from: str | None = Field(None, description="folder of an exported policy to start from")
    shared: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="name of a policy that many runs on the cluster feed"
    )

    @model_validator(mode="after")
    def _fits(self) -> WeightingConfig:
        if (self.type == "fixed") != (self.weights is not None):
            raise ValueError("`weights` belongs to type fixed, and fixed needs it")
        if self.weights is not None and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError("weights must not be negative, and one must be above 0")
        fields = type(self).model_fields
        own = [key for key in fields if key not in ("type", "weights") and getattr(self, key) != fields[key].default]
        if self.type != "policy" and own:
            raise ValueError(f"`{own[0]}` belongs to type policy")
        if self.cross_fit == 1:
            raise ValueError("cross_fit: one fold leaves nothing to train on; use 2 or more, or 0 for none")
        if self.sentence_teacher is not None and self.sentence_encoder is not None:
            raise ValueError("sentence_teacher and sentence_encoder: give one of them")
        return self

    @property
    def needs_reward_split(self) -> bool:
        """Whether rows must be held out of training for it."""
        return self.type in FITTED or (self.type == "policy" and self.reward.type == "r3")

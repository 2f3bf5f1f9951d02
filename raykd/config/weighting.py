"""How the K teachers are blended: the section `weighting`, one class per type (docs/policy.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark, Name, Section
from raykd.config.choice import Choice, OneOf


class WeightingConfig(Choice):
    """A rule, or a policy that is trained by the student's progress.

    Attributes:
        classes_only: it has no meaning in a regression.
        fitted: it is fitted on the reward split before the student begins.
        baseline: it can stand under `baselines`, where its name must say all: not where a field is required.
    """

    shorthand = "type"
    default_type = "uniform"
    group = "raykd.weighting"
    classes_only: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    baseline: ClassVar[bool] = True

    type: str

    @property
    def needs_labels(self) -> bool:
        """Whether it weighs a row by its label, and has no answer for one without."""
        return False

    @property
    def reads_labels(self) -> bool:
        """Whether it looks at the label of a row that has one."""
        return self.needs_labels

    @property
    def needs_reward_split(self) -> bool:
        """Whether rows must be held out of training for it."""
        return self.fitted


class UniformConfig(WeightingConfig):
    """Every teacher has the same weight on every row."""

    title = "all teachers equally"
    implementation = "raykd.weighting.rules:Uniform"

    type: Literal["uniform"] = "uniform"


class FixedConfig(WeightingConfig):
    """One weight per teacher, the same on every row."""

    title = "a fixed weight for each teacher"
    implementation = "raykd.weighting.rules:Fixed"

    type: Literal["fixed"] = "fixed"
    weights: list[float] = Field(
        description="one weight per teacher, not negative; normalised to sum 1", examples=[[2, 1, 1]]
    )

    @model_validator(mode="after")
    def _positive(self) -> FixedConfig:
        if not self.weights or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError("weights must not be negative, and one must be above 0")
        return self


class RandomConfig(WeightingConfig):
    """One teacher for a whole batch, drawn for each batch."""

    title = "one random teacher a batch"
    implementation = "raykd.weighting.rules:Random"

    type: Literal["random"] = "random"


class ConfidenceConfig(WeightingConfig):
    """More weight for the teachers whose loss against the row's label is smaller."""

    title = "more weight for teachers nearer to the label"
    citation = "Zhang, Chen, Wang, “Confidence-Aware Multi-Teacher Knowledge Distillation”, ICASSP 2022, eq. 3"
    implementation = "raykd.weighting.rules:Confidence"

    type: Literal["confidence"] = "confidence"

    @property
    def reads_labels(self) -> bool:
        """Of a row without one it takes the entropy."""
        return True


class EntropyConfig(WeightingConfig):
    """More weight for the teachers that are surer of a row, right or wrong."""

    title = "more weight for surer teachers"
    citation = "Kwon et al., “Adaptive Knowledge Distillation Based on Entropy”, ICASSP 2020"
    implementation = "raykd.weighting.rules:Entropy"
    classes_only = True

    type: Literal["entropy"] = "entropy"


class OracleConfig(WeightingConfig):
    """All weight for the teacher whose loss against the row's label is smallest, or for the one of the row's domain."""

    title = "each row's best teacher by its label"
    implementation = "raykd.weighting.rules:Oracle"

    type: Literal["oracle"] = "oracle"
    by: Literal["label", "domain"] = Field(
        "label", description="label: the smallest loss against it; domain: the plan, whatever the teachers answer"
    )
    plan: dict[str, str] | None = Field(
        None,
        description="for each domain the teacher that is used there; null: the one of the domain's name",
        examples=[{"books": "expert", "kitchen": "cook"}],
    )

    @model_validator(mode="after")
    def _fits(self) -> OracleConfig:
        if self.plan is not None and self.by != "domain":
            raise ValueError("plan: goes with `by: domain`")
        return self

    @property
    def needs_labels(self) -> bool:
        """By the label, and not by the plan."""
        return self.by == "label"


class BestConfig(WeightingConfig):
    """All weight for the teacher with the smallest mean loss on the reward split."""

    title = "the best single teacher"
    implementation = "raykd.weighting.fitted:Best"
    fitted = True

    type: Literal["best"] = "best"


class LogisticConfig(WeightingConfig):
    """One weight per teacher, from a logistic regression on the reward split."""

    title = "weights of a logistic regression"
    implementation = "raykd.weighting.fitted:Logistic"
    classes_only = True
    fitted = True

    type: Literal["logistic"] = "logistic"


class RewardConfig(Section):
    """What the policy is rewarded for, after the student's step."""

    shorthand = "type"

    type: Literal["r1", "r2", "r3", "influence"] = Field(
        "r1",
        description="r1: −CE; r2: −CE − KD; r3: γ·r2 + (1 − γ)·fall of CE on the reward split; influence: how a"
        " teacher's weight on the row would lower CE on the reward split",
    )
    every: int = Field(8, ge=1, description="student steps between two that are rewarded")
    gamma: float = Field(0.5, ge=0, le=1, description="γ of r3, the share of r2")
    batch_size: int = Field(
        64, ge=1, description="rows of the reward split that r3 and influence draw each time; all, where it has no more"
    )
    gradient: Literal["expected", "sampled"] = Field(
        "expected",
        description="of influence: in expectation over the choices, or by the choices made (Reinforce)",
    )
    replay: int = Field(
        0, ge=0, description="rows of so many earlier updates are used again; influence in expectation only"
    )

    @model_validator(mode="after")
    def _fits(self) -> RewardConfig:
        if self.replay and not self.expected:
            raise ValueError("replay: needs `type: influence` in expectation: other rewards are those of one choice")
        return self

    @property
    def expected(self) -> bool:
        """Whether the policy's gradient is taken in expectation over its choices."""
        return self.type == "influence" and self.gradient == "expected"


class PolicyConfig(WeightingConfig):
    """A policy chooses the teachers of each row, and is rewarded by the student's progress (RL-KD)."""

    title = "a policy that chooses the teachers of each row"
    citation = (
        "Yuan et al., “Reinforced Multi-Teacher Selection for Knowledge Distillation”, AAAI 2021, arXiv 2012.06048"
    )
    implementation = "raykd.weighting.policy.weighting:PolicyWeighting"
    baseline = False

    type: Literal["policy"] = "policy"
    mode: Literal["sample", "prob", "greedy"] = Field(
        "sample", description="how the policy acts where it is not rewarded: a draw, π / Σπ, or π > 1/2"
    )
    reward: RewardConfig = Field(RewardConfig(), description="what the policy is rewarded for")
    student_warmup: int = Field(0, ge=0, description="first student steps with uniform weights and no policy")
    policy_warmup: int = Field(0, ge=0, description="steps after them where all teachers count and the policy trains")
    hidden_width: int = Field(
        0, ge=0, description="units of the policy's hidden layer for each teacher; 0: linear in the state"
    )
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
    sentence_teacher: Annotated[str | None, Mark.SHARED] = Field(
        None, description="whose pooled state is the sentence vector; null: the first"
    )
    sentence_encoder: Annotated[str | None, Mark.SHARED] = Field(
        None,
        description="a hub name or folder of an encoder in its place",
        examples=["nreimers/MiniLM-L6-H384-uncased"],
    )
    cross_fit: Annotated[int, Mark.SHARED] = Field(
        0, ge=0, description="folds for cross-fitted losses of fine-tuned teachers in the state; 0: none"
    )
    start_from: str | None = Field(
        None, description="folder of an exported policy to start from", examples=["runs/rl_kd/policy"]
    )
    shared: Annotated[Name | None, Mark.SHARED] = Field(
        None, description="name of a policy that many runs on the cluster feed; the first of them decides its settings"
    )

    @model_validator(mode="after")
    def _fits(self) -> PolicyConfig:
        if self.cross_fit == 1:
            raise ValueError("cross_fit: one fold leaves nothing to train on; use 2 or more, or 0 for none")
        if self.sentence_teacher is not None and self.sentence_encoder is not None:
            raise ValueError("sentence_teacher and sentence_encoder: give one of them")
        return self

    @property
    def needs_reward_split(self) -> bool:
        """For r3 and influence, which look at the student's loss on rows of it."""
        return self.reward.type in ("r3", "influence")


AnyWeighting = Annotated[WeightingConfig, OneOf()]


def baseline_rules() -> tuple[str, ...]:
    """Rules whose name is all that they need: as `weighting`, and as baselines."""
    return tuple(name for name, kind in WeightingConfig.types().items() if kind.baseline and not _required(kind))


def _required(kind: type[WeightingConfig]) -> bool:
    return any(field.is_required() for field in kind.model_fields.values())

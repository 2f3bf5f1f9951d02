"""What the student minimises: the section `objective`, one class per soft loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark
from raykd.config.choice import Choice, OneOf
from raykd.config.features import FeaturesConfig

DEFAULT_TEMPERATURE = 2.0


class ObjectiveConfig(Choice):
    """L = α · soft + (1 − α) · hard + Σ_f β_f · feature_f; the type is that of the soft loss.

    Attributes:
        varies: it changes smoothly with the teachers' logits, so that feedback can tell them something.
        couples_batch: the loss of a row depends on the other rows of the batch.
    """

    shorthand = "type"
    default_type = "kl"
    group = "raykd.objective"
    varies: ClassVar[bool] = True
    classes_only: ClassVar[bool] = False
    couples_batch: ClassVar[bool] = False

    type: str
    alpha: Annotated[float, Mark.LIVE] = Field(0.5, ge=0, le=1, description="α, the weight of the soft part")
    features: FeaturesConfig | None = Field(None, description="what is matched inside the teacher, beside its logits")

    @property
    def divergence_temperature(self) -> float:
        """τ of a teacher's own divergence from the student (`feedback.teacher_kd`)."""
        return DEFAULT_TEMPERATURE

    def misfit(self, classes: int) -> str | None:
        """Why it is of no use for so many classes; None where it is."""
        return None

    def left_out(self, classes: int) -> str | None:
        """The part that is left out for so many classes, as a warning; None where nothing is."""
        return None


class KLConfig(ObjectiveConfig):
    """KL divergence of the softened probabilities, times τ²; the squared error in a regression."""

    title = "Kullback-Leibler divergence of softened probabilities"
    citation = (
        "Hinton, Vinyals, Dean, “Distilling the Knowledge in a Neural Network”, 2015, arXiv 1503.02531, section 2"
    )
    implementation = "raykd.objective.soft:SoftenedKL"

    type: Literal["kl"] = "kl"
    temperature: Annotated[float, Mark.LIVE] = Field(
        DEFAULT_TEMPERATURE, gt=0, description="τ; softens student and teachers"
    )

    @property
    def divergence_temperature(self) -> float:
        """τ, the same as the student's."""
        return self.temperature


class MSEConfig(ObjectiveConfig):
    """Mean squared error of the logits."""

    title = "squared error of the logits"
    citation = "Ba, Caruana, “Do Deep Nets Really Need to be Deep?”, NeurIPS 2014, arXiv 1312.6184"
    implementation = "raykd.objective.soft:MeanSquaredError"

    type: Literal["mse"] = "mse"


class PseudoLabelConfig(ObjectiveConfig):
    """Cross-entropy against the answer of the blended teachers; the squared error in a regression."""

    title = "the teachers' answers as hard labels"
    citation = "Lee, “Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method”, ICML 2013 workshop"
    implementation = "raykd.objective.soft:PseudoLabel"
    varies = False

    type: Literal["pseudo_label"] = "pseudo_label"


class DKDConfig(ObjectiveConfig):
    """KL divergences of the teachers' answer against the rest, and within the rest, each with its own weight."""

    title = "decoupled knowledge distillation"
    citation = "Zhao et al., “Decoupled Knowledge Distillation”, CVPR 2022, arXiv 2203.08679"
    implementation = "raykd.objective.dkd:DecoupledKD"
    classes_only = True

    type: Literal["dkd"] = "dkd"
    temperature: Annotated[float, Mark.LIVE] = Field(
        DEFAULT_TEMPERATURE, gt=0, description="τ; softens student and teachers"
    )
    target: Annotated[float, Mark.LIVE] = Field(
        1.0, ge=0, description="weight of the teachers' answer against all other classes"
    )
    non_target: Annotated[float, Mark.LIVE] = Field(
        8.0, ge=0, description="weight of the divergence among the other classes"
    )

    @model_validator(mode="after")
    def _something(self) -> DKDConfig:
        if self.target == self.non_target == 0:
            raise ValueError("target and non_target are both 0: nothing is left of the loss")
        return self

    @property
    def divergence_temperature(self) -> float:
        """τ, the same as the student's."""
        return self.temperature

    def misfit(self, classes: int) -> str | None:
        """For two classes: beside the answer there is a single other class."""
        return None if classes > 2 else f"dkd compares the classes beside the answer, and of {classes} there is one"


class DISTConfig(ObjectiveConfig):
    """Correlations of the probabilities with the teachers': over the classes of a row, over the rows of a batch."""

    title = "correlation of softened probabilities"
    citation = "Huang et al., “Knowledge Distillation from A Stronger Teacher”, NeurIPS 2022, arXiv 2205.10536"
    implementation = "raykd.objective.dist:CorrelationLoss"
    classes_only = True
    couples_batch = True

    type: Literal["dist"] = "dist"
    temperature: Annotated[float, Mark.LIVE] = Field(1.0, gt=0, description="τ; softens student and teachers")
    beta: Annotated[float, Mark.LIVE] = Field(
        1.0, ge=0, description="β, weight of the correlation over classes; left out where there are two"
    )
    gamma: Annotated[float, Mark.LIVE] = Field(
        1.0, ge=0, description="γ, weight of the correlation over the rows of a batch"
    )

    @model_validator(mode="after")
    def _something(self) -> DISTConfig:
        if self.beta == self.gamma == 0:
            raise ValueError("beta and gamma are both 0: nothing is left of the loss")
        return self

    @property
    def divergence_temperature(self) -> float:
        """τ, the same as the student's."""
        return self.temperature

    def misfit(self, classes: int) -> str | None:
        """For two classes without the term over the batch: the other one is constant."""
        if classes == 1:
            return "dist compares probabilities of classes, and there is one"
        return "dist has the term of beta alone, which is constant for two" if classes == 2 and not self.gamma else None

    def left_out(self, classes: int) -> str | None:
        """For two classes the term within a row."""
        return "the term of beta is constant for two classes and left out" if classes == 2 and self.beta else None


AnyObjective = Annotated[ObjectiveConfig, OneOf()]

"""What the student minimises: the section `objective`, one class per soft loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raykd.config.base import Mark
from raykd.config.choice import Choice, OneOf
from raykd.config.features import FeaturesConfig

DEFAULT_TEMPERATURE = 2.0


class ObjectiveConfig(Choice):
    """L = α · soft + (1 − α) · hard + Σ_f β_f · feature_f; the type is that of the soft loss.

    Attributes:
        varies: it changes smoothly with the teachers' logits, so that feedback can tell them something.
    """

    shorthand = "type"
    default_type = "kl"
    group = "raykd.objective"
    varies: ClassVar[bool] = True
    classes_only: ClassVar[bool] = False

    type: str
    alpha: Annotated[float, Mark.LIVE] = Field(0.5, ge=0, le=1, description="α, the weight of the soft part")
    features: FeaturesConfig | None = Field(None, description="what is matched inside the teacher, beside its logits")

    @property
    def divergence_temperature(self) -> float:
        """τ of a teacher's own divergence from the student (`feedback.teacher_kd`)."""
        return DEFAULT_TEMPERATURE


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


AnyObjective = Annotated[ObjectiveConfig, OneOf()]

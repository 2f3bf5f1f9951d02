"""What is learnt: the section `task`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raykd.config.base import Section

Metric = Literal["accuracy", "f1", "matthews", "pearson", "spearman"]
CLASSIFICATION_METRICS = ("accuracy", "f1", "matthews")
REGRESSION_METRICS = ("pearson", "spearman")


class TaskConfig(Section):
    """A classification with named classes, or a regression."""

    shorthand = "type"

    type: Literal["classification", "regression"] = Field("classification", description="what the label is")
    metric: Metric | None = Field(None, description="chooses the best checkpoint; default accuracy or pearson")
    labels: list[str] | None = Field(
        None, description="class names in the order of the label ids; default: the data set's own, else LABEL_0, …"
    )

    @model_validator(mode="after")
    def _fits(self) -> TaskConfig:
        allowed = CLASSIFICATION_METRICS if self.type == "classification" else REGRESSION_METRICS
        if self.metric is not None and self.metric not in allowed:
            raise ValueError(f"metric {self.metric} does not fit {self.type}: use one of {', '.join(allowed)}")
        if self.labels is not None and self.type == "regression":
            raise ValueError("labels are class names; a regression has none")
        if self.labels is not None and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise ValueError("labels must name at least two different classes")
        return self

    @property
    def best_by(self) -> str:
        """The metric that chooses the best checkpoint."""
        return self.metric or ("accuracy" if self.type == "classification" else "pearson")

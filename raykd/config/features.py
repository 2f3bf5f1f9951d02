"""What else of a teacher the student matches, beside its logits: the section `objective.features`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raykd.config.base import Mark, Name, Section

LayerMap = Literal["uniform", "last", "skip", "top", "reverse", "random"]


class FeatureTermConfig(Section):
    """One feature loss with its weight β."""

    shorthand = "weight"

    weight: Annotated[float, Mark.LIVE] = Field(1.0, ge=0, description="β, beside the loss on logits and labels")


class LayerTermConfig(FeatureTermConfig):
    """A loss over pairs of layers."""

    layers: LayerMap | dict[int, int] = Field(
        "uniform",
        description="which teacher layer a student layer matches: uniform, evenly spread up to the last; last, the last"
        " ones; skip, every n-th from below; top, the last two layers alone; reverse and random, controls; or a mapping"
        " from student to teacher layers, counted from 1",
        examples=["uniform", {1: 3, 2: 6}],
    )

    @model_validator(mode="after")
    def _counted_from_one(self) -> LayerTermConfig:
        if isinstance(self.layers, dict):
            if not self.layers:
                raise ValueError("layers: the mapping is empty")
            if min(*self.layers, *self.layers.values(), 1) < 1:
                raise ValueError("layers: they are counted from 1; the embedding layer is the term `embedding`")
        return self


class RelationTermConfig(LayerTermConfig):
    """MiniLMv2's relations of queries, keys and values."""

    layers: LayerMap | dict[int, int] = Field("top", description="as for hidden; the paper takes one teacher layer")
    heads: int | None = Field(
        None, ge=1, description="relation heads that both models' vectors are split into; null: the student's own heads"
    )


class FeaturesConfig(Section):
    """Losses on inner outputs of one teacher; each row's sum is added to its loss."""

    teacher: Name | None = Field(None, description="whose features they are; default the first teacher")
    hidden: LayerTermConfig | None = Field(None, description="squared error of the hidden states, token by token")
    attention: LayerTermConfig | None = Field(
        None, description="squared error of the attention scores before the softmax"
    )
    embedding: FeatureTermConfig | None = Field(None, description="squared error of the embedding layer's outputs")
    pkd: LayerTermConfig | None = Field(
        None, description="squared distance of the first token's normalised hidden states"
    )
    minilm: RelationTermConfig | None = Field(
        None, description="divergence of the relations among queries, keys and values"
    )
    knowledge: FeatureTermConfig | None = Field(
        None, description="squared error of what the domain heads make of a row; of a teacher with prepare: meta"
    )
    expertise: bool = Field(
        False, description="weigh each row's features by the teacher's expertise there; of a teacher with prepare: meta"
    )
    stages: Literal[1, 2] = Field(
        1, description="1: features and logits together; 2: features alone first, then logits and labels"
    )
    first_stage: float = Field(0.5, gt=0, lt=1, description="with stages: 2, the first stage's share of the steps")
    store_mb: Annotated[int, Mark.PLACEMENT] = Field(
        1024,
        ge=0,
        description="features that take more in the cache are computed again in each epoch; those of one vector a row"
        " are always stored",
    )

    @model_validator(mode="after")
    def _some(self) -> FeaturesConfig:
        if not self.terms:
            raise ValueError("no term is set: give one of hidden, attention, embedding, pkd, minilm, knowledge")
        return self

    @property
    def terms(self) -> dict[str, FeatureTermConfig]:
        """The terms that are set, by name."""
        names = ("hidden", "attention", "embedding", "pkd", "minilm", "knowledge")
        return {name: term for name in names if (term := getattr(self, name)) is not None}

"""Where the rows come from and which of them are used: the section `data`."""

from __future__ import annotations

from pydantic import Field, model_validator

from raykd.config.base import Section


class GeneratorConfig(Section):
    """The embedded corpus: seeded reviews of several domains, `data.source: generated`."""

    rows: int = Field(3000, ge=100, description="training rows")
    validation_rows: int = Field(600, ge=50, description="validation rows, never noisy")
    domains: int = Field(3, ge=1, le=6, description="how many domains")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of training labels that are flipped")
    seed: int = Field(0, ge=0, description="seed of the generator")


class DataConfig(Section):
    """Where the rows come from and which of them are used."""

    shorthand = "source"

    source: str = Field(description="a hub data set, a folder with a file per split, or `generated`")
    subset: str | None = Field(None, description="configuration of a hub data set: sst2 of nyu-mll/glue")
    train: str = Field("train", description="name of the split, or a file (parquet, csv, tsv, jsonl, arrow)")
    validation: str = Field("validation", description="name of the split, or a file")
    test: str | None = Field(None, description="split or file that is scored once, at the end")
    text: str = Field("text", description="column of the (first) sentence")
    text_pair: str | None = Field(
        None, description="column of the second sentence; default: text_pair where it is there"
    )
    label: str = Field("label", description="column of the label")
    domain: str | None = Field(None, description="column of the domain; default: domain where it is there")
    domains: list[str] | None = Field(None, description="keep only the rows of these domains")
    max_length: int = Field(128, ge=4, description="tokens of a row; longer ones are cut")
    limit: int | None = Field(
        None, ge=2, description="keep so many (stratified) of the training rows that validation, quiz and reward leave"
    )
    fraction: float = Field(1.0, gt=0, le=1, description="keep this share of the training rows (stratified)")
    validation_from_train: float = Field(
        0.0, ge=0, lt=0.9, description="share of train that takes the validation's place, for tuning"
    )
    quiz: float | None = Field(
        None,
        ge=0,
        lt=0.9,
        description="share of train held out for the teachers' quiz; null: 0.1 where feedback needs it",
    )
    reward: float | None = Field(
        None,
        ge=0,
        lt=0.9,
        description="share of train held out for the policy's reward or a fitted rule; null: 0.1 where it is needed",
    )
    seed: int = Field(
        0, ge=0, description="of limit, fraction and held-out shares; apart from the run's, so seeds share splits"
    )
    generated: GeneratorConfig = Field(GeneratorConfig(), description="used with source: generated")

    @model_validator(mode="after")
    def _room(self) -> DataConfig:
        if self.validation_from_train + (self.quiz or 0) + (self.reward or 0) >= 0.95:
            raise ValueError("validation_from_train, quiz and reward together leave no rows to train on")
        return self

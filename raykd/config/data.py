"""Where the rows come from and which of them are used: the section `data`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from raykd.config.base import Section, Seed


class GeneratorConfig(Section):
    """The embedded corpus: seeded reviews of several domains, `data.source: generated`."""

    rows: int = Field(3000, ge=100, description="training rows")
    validation_rows: int = Field(600, ge=50, description="validation rows, never noisy")
    unlabeled_rows: int = Field(0, ge=0, description="rows without labels: the split `unlabeled`")
    test_rows: int = Field(0, ge=0, description="rows of the split `test`, never noisy")
    domains: int = Field(3, ge=1, le=6, description="how many domains")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of training labels that are flipped")
    seed: Seed = Field(0, description="seed of the generator")


CONTAINED = "contained"
"""The group of a text is that of the text that it stands in."""
REST = "rest"
"""Names the training rows that the budget leaves, as rows without labels."""
Share = Annotated[float, Field(ge=0, lt=0.9)]


class UnlabeledConfig(Section):
    """Rows without labels, which a student learns from its teachers alone; a column of labels is never read."""

    shorthand = "split"

    split: str = Field(
        "train",
        description="name of the split, or a file; `rest`: the training rows that max_train_rows leaves",
        examples=["rest", "unlabeled"],
    )
    source: str | None = Field(None, description="a hub data set or a folder; default data.source")
    subset: str | None = Field(None, description="configuration of a hub data set")
    text: str | None = Field(None, description="column of the (first) sentence; default data.text")
    text_pair: str | None = Field(None, description="column of the second sentence; default data.text_pair")
    domain: str | None = Field(None, description="column of the domain; default data.domain")
    domains: list[str] | None = Field(None, description="keep only the rows of these domains")
    max_rows: int | None = Field(None, ge=1, description="keep so many rows, drawn by data.seed")

    @property
    def is_rest(self) -> bool:
        """Whether they are the training rows that the budget leaves."""
        return self.split == REST and self.source is None


class DataConfig(Section):
    """Where the rows come from and which of them are used."""

    shorthand = "source"

    source: str = Field(description="a hub data set, a folder with a file per split, or `generated`")
    subset: str | None = Field(None, description="configuration of a hub data set: sst2 of nyu-mll/glue")
    train: str | None = Field(
        "train",
        description="name of the split, or a file (parquet, csv, tsv, jsonl, arrow); null: only `unlabeled`",
    )
    validation: str = Field("validation", description="name of the split, or a file")
    test: str | None = Field(None, description="split or file that is scored once, at the end")
    text: str = Field("text", description="column of the (first) sentence")
    text_pair: str | None = Field(
        None, description="column of the second sentence; default: text_pair where it is there"
    )
    label: str = Field("label", description="column of the label")
    domain: str | None = Field(None, description="column of the domain; default: domain where it is there")
    domains: list[str] | None = Field(None, description="keep only the rows of these domains")
    target_domain: str | None = Field(
        None,
        min_length=1,
        description="all rows of the student and its scores are of this domain, the budget too; teachers that are"
        " fine-tuned learn from the labels of the other domains as well",
        examples=["books"],
    )
    group: str | None = Field(
        None,
        description="column whose equal rows stay on one side of every holdout; `contained`: texts that stand inside"
        " another one, with it",
        examples=[CONTAINED, "source_id"],
    )
    max_length: int = Field(128, ge=4, description="tokens of a row; longer ones are cut")
    max_train_rows: int | None = Field(
        None, ge=2, description="budget: labels of so many training rows are read (stratified), by holdouts too"
    )
    fraction: float = Field(1.0, gt=0, le=1, description="the budget as a share of the training rows (stratified)")
    unlabeled: UnlabeledConfig | None = Field(
        None, description="rows without labels: a split or file, `rest`, or a mapping", examples=["rest"]
    )
    validation_from_train: Share = Field(
        0.0, description="share of the budget that takes the validation's place, for tuning"
    )
    test_from_train: Share = Field(0.0, description="share of the budget that is scored once, at the end")
    quiz: Share | str | None = Field(
        None,
        description="for the teachers' quiz: a share of the budget, or a split or file; null: 0.1 where it is needed",
        examples=[0.1, "clean.csv"],
    )
    reward: Share | str | None = Field(
        None,
        description="for the policy's reward or a fitted rule: a share of the budget, or a split or file; null: 0.1"
        " where it is needed",
        examples=[0.1, "clean.csv"],
    )
    seed: Seed = Field(0, description="of the budget's draw and holdouts; apart from the run's, so seeds share splits")
    generated: GeneratorConfig = Field(GeneratorConfig(), description="used with source: generated")

    @model_validator(mode="after")
    def _room(self) -> DataConfig:
        if sum(self.shares.values()) >= 0.95:
            raise ValueError(f"{', '.join(self.shares)} together leave no rows to train on")
        if self.test_from_train and self.test is not None:
            raise ValueError("test_from_train: there is a test split already: give one of them")
        extra = self.unlabeled
        if extra is not None and extra.is_rest and not self._leaves_rows:
            raise ValueError("unlabeled: rest is what max_train_rows or fraction leave: set one of them")
        if extra is not None and extra.source is None and extra.split == self.train:
            raise ValueError(f"unlabeled: {extra.split} has the rows with labels; `rest` are those beyond the budget")
        if self.target_domain is not None and self.domains is not None:
            raise ValueError("target_domain: domains filters the rows of the teachers too: set one of the two")
        if self.train is None:
            self._check_without_train()
        return self

    @property
    def _leaves_rows(self) -> bool:
        """Whether the budget, or a target domain beside others that are wanted, leaves rows for `rest`."""
        others = self.target_domain is not None and self.unlabeled is not None and self.unlabeled.domains is not None
        return others or self.max_train_rows is not None or self.fraction < 1

    def _check_without_train(self) -> None:
        """Refuses what divides rows with labels where there are none to train on."""
        if self.unlabeled is None or self.unlabeled.is_rest:
            raise ValueError("train: null leaves no row to train on: name a split or file as unlabeled")
        mends = {"validation_from_train": "name a split or file as validation", "test_from_train": "name one as test"}
        for key in self.shares:
            mend = mends.get(key, f"name a split or file as {key}")
            raise ValueError(f"{key}: a share of rows with labels, and train is null: {mend}")
        for key, is_set in (
            ("max_train_rows", self.max_train_rows is not None),
            ("fraction", self.fraction < 1),
            ("group", self.group is not None),
        ):
            if is_set:
                raise ValueError(f"{key}: divides rows with labels, and train is null: leave it out")

    @property
    def student_domains(self) -> tuple[list[str] | None, str]:
        """The domains that the student's rows are of, None for all, and the key that names them."""
        if self.target_domain is not None:
            return [self.target_domain], "data.target_domain"
        return self.domains, "data.domains"

    @property
    def group_column(self) -> str | None:
        """The column that groups are read from."""
        return None if self.group == CONTAINED else self.group

    @property
    def shares(self) -> dict[str, float]:
        """The keys that hold out a share of the budget, with that share."""
        keys = ("validation_from_train", "test_from_train", "quiz", "reward")
        return {key: share for key in keys if isinstance(share := getattr(self, key), float) and share > 0}

"""A prepared teacher: its checkpoint, which of its outputs are read, and what its stored answers are addressed by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from raykd.columns import Column
from raykd.teachers.serving.endpoint import Endpoint
from raykd.teachers.serving.store import Address, Store
from raykd.teachers.serving.values import RaggedRows


@dataclass(frozen=True)
class TeacherModel:
    """A classifier or regressor of the task, ready to serve; or a model whose inner outputs are served.

    Attributes:
        folder: its checkpoint, on storage that all nodes share; empty where a server has it.
        columns: the permutation that puts its logit columns in the task's order; 0, 1, … of a vector that is no
            logits; empty where answers have no fixed width.
        labels: the task's class names in that order; empty in a regression.
        dtype: of the forward pass: float32, bfloat16 or float64.
        weights: fingerprint of its weights and architecture; of an endpoint, of what it says that it serves.
        tokenizer: fingerprint of its tokenizer.
        version: 0 for a frozen teacher; one more after each step of one that learns.
        output: logits; pooled: the mean of the last hidden states; or features. All are stored and served alike.
        features: with output features, what a row's answer holds, one after the other.
        endpoint: the servers that are asked in place of a checkpoint.
    """

    name: str
    folder: str
    columns: tuple[int, ...]
    labels: tuple[str, ...]
    max_length: int
    dtype: str
    weights: str
    tokenizer: str
    parameters: int | None
    version: int = 0
    output: Literal["logits", "pooled", "features"] = "logits"
    features: tuple[Column, ...] = ()
    endpoint: Endpoint | None = None

    @property
    def classes(self) -> int:
        """Columns of an answer: of logits the classes, 1 in a regression; of a sentence vector its width."""
        return len(self.columns)

    @property
    def ragged(self) -> bool:
        """Whether a row's answer is as long as the row has tokens."""
        return not all(column.pooled for column in self.features)

    @property
    def identity(self) -> str:
        """What answers are checked against: the same for any service of this teacher, under whatever name."""
        return self.address("").digest

    @property
    def wire(self) -> str:
        """The dtype in which its answers travel and are stored; of features half precision, they are many."""
        if self.dtype == "float64":
            return "float64"
        return "float16" if self.output == "features" else "float32"

    def store(self, cache: Path, corpus: str) -> Store:
        """Where its soft targets for a corpus (fingerprint) are stored."""
        return Store(cache, self.address(corpus), None if self.ragged else self.classes, self.wire)

    def empty_rows(self, rows: int) -> np.ndarray | RaggedRows:
        """A table for its answers to so many rows, by row number."""
        return RaggedRows(self.wire) if self.ragged else np.zeros((rows, self.classes), self.wire)

    def address(self, corpus: str) -> Address:
        """Under which its soft targets for a corpus (fingerprint) are stored."""
        return Address(
            weights=self.weights,
            tokenizer=self.tokenizer,
            corpus=corpus,
            max_length=self.max_length,
            truncation="longest_first",
            dtype=self.dtype,
            columns=self.columns,
            labels=self.labels,
            version=self.version,
            output=":".join([self.output, *(column.name for column in self.features)]),
        )

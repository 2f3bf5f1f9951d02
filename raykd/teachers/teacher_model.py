"""A prepared teacher: its checkpoint, which of its outputs are read, and what its stored answers are addressed by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raykd.teachers.serving.store import Address


@dataclass(frozen=True)
class TeacherModel:
    """A classifier or regressor of the task, ready to serve; or an encoder whose sentence vectors are served.

    Attributes:
        folder: its checkpoint, on storage that all nodes share.
        columns: the permutation that puts its logit columns in the task's order; 0, 1, … of a sentence vector.
        labels: the task's class names in that order; empty in a regression.
        dtype: of the forward pass: float32, bfloat16 or float64.
        weights: fingerprint of its weights and architecture.
        tokenizer: fingerprint of its tokenizer.
        version: 0 for a frozen teacher; one more after each step of one that learns.
        output: logits, or pooled: the mean of the last hidden states. Both are stored and served alike.
    """

    name: str
    folder: str
    columns: tuple[int, ...]
    labels: tuple[str, ...]
    max_length: int
    dtype: str
    weights: str
    tokenizer: str
    parameters: int
    version: int = 0
    output: Literal["logits", "pooled"] = "logits"

    @property
    def classes(self) -> int:
        """Columns of an answer: of logits the classes, 1 in a regression; of a sentence vector its width."""
        return len(self.columns)

    @property
    def identity(self) -> str:
        """What answers are checked against: the same for any service of this teacher, under whatever name."""
        return self.address("").digest

    @property
    def wire(self) -> str:
        """The dtype in which its logits travel and are stored."""
        return "float64" if self.dtype == "float64" else "float32"

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
            output=self.output,
        )

"""Inner outputs of a model by name: what a feature loss compares, and how many numbers a row of each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["hidden", "scores", "first", "query", "key", "value", "domain"]


@dataclass(frozen=True, order=True)
class Column:
    """One inner output of a transformer encoder.

    Attributes:
        kind: hidden, [L, H] of each token; first, [H], the hidden state of the first token; scores, [heads, L, L],
            query · key / √d before mask and softmax; query, key, value, [L, H], all heads side by side; domain, [H],
            what a meta-teacher's domain head makes of a row.
        layer: 1 is the first transformer layer; of hidden and first 0 is the embedding layer. 0 of domain.
        mean_heads: of scores the mean over the heads instead, [1, L, L].
    """

    kind: ColumnKind
    layer: int = 0
    mean_heads: bool = False

    @property
    def name(self) -> str:
        """`hidden.3`, `scores.2.mean`: in addresses and messages."""
        return f"{self.kind}.{self.layer}{'.mean' if self.mean_heads else ''}"

    @property
    def pooled(self) -> bool:
        """Whether it has one vector a row, whatever the row's length."""
        return self.kind in ("first", "domain")

    def shape(self, tokens: int, width: int, heads: int) -> tuple[int, ...]:
        """The shape of a row of so many tokens, of a model of this width with so many heads."""
        if self.pooled:
            return (width,)
        if self.kind == "scores":
            return (1 if self.mean_heads else heads, tokens, tokens)
        return (tokens, width)


DOMAIN = Column("domain")
"""W (E[d] + m) of a domain head: see models/domain_head.py."""

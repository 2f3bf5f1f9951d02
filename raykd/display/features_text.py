"""The features that a student matched, in words: terms with their weights and layers, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raykd.display.durations import duration
from raykd.records.features_result import FeaturesResult

TERMS = {
    "hidden": "hidden states",
    "attention": "attention scores",
    "embedding": "embeddings",
    "pkd": "first tokens (patient distillation)",
    "minilm": "relations of queries, keys and values (MiniLMv2)",
    "knowledge": "domain knowledge",
}


def matched(result: FeaturesResult) -> str:
    """What was matched, with β and the pairs of layers: `hidden states × 1 (1→3, 2→6)`."""
    return ", ".join(
        f"{TERMS[name]} × {weight:g}{_layers(result.pairs.get(name, ()))}" for name, weight in result.terms.items()
    )


def cost(result: FeaturesResult) -> str:
    """Where they came from, and what they took."""
    size = size_of(result.bytes)
    kept = f"stored, about {size}" if result.stored else f"about {size}, computed again in each epoch"
    return f"{kept}: {result.rows_computed:,} rows computed in {duration(result.seconds)}"


def planned(features: Mapping[str, Any]) -> str:
    """What a plan tells of them: `about 14 MB in the cache (147 kB a row), 1,000 rows of forward passes`."""
    size, row = size_of(features["bytes"]), size_of(features["bytes_per_row"])
    where = "in the cache" if features["stored"] else "computed again in each epoch: more than store_mb"
    return f"about {size} ({row} a row), {where}; {features['forwards']:,} rows of forward passes"


def size_of(count: float) -> str:
    """Bytes as people write them: `147 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError


def _layers(pairs: Sequence[tuple[int, int]]) -> str:
    if not pairs or pairs == [(0, 0)]:
        return ""
    return f" ({', '.join(f'{own}→{theirs}' for own, theirs in pairs)})"

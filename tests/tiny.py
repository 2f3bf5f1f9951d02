"""A run of a few seconds on the embedded corpus, for tests to vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raykd.config import RunConfig

Configure = Callable[..., RunConfig]

TINY_TEACHER: dict[str, Any] = {
    "model": {"layers": 1, "hidden_size": 32, "heads": 2, "vocab_size": 400, "dropout": 0.0},
    "prepare": "finetune",
    "finetune": {"epochs": 1, "lr": 2e-3, "batch_size": 32},
}


def tiny_config(changes: dict[str, Any], cache: Path) -> dict[str, Any]:
    """A run of a few seconds on the embedded corpus; dropout 0."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "source": "generated",
            "max_length": 24,
            "generated": {"rows": 240, "validation_rows": 80, "domains": 2},
        },
        "teachers": [dict(TINY_TEACHER)],
        "student": {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.0},
        "train": {"epochs": 2, "batch_size": 32, "lr": 2e-3, "log_every": 1, "threads": 1},
        "parity_rows": 4,
        "cluster": {"num_cpus": 8, "object_store_mb": 128},
        "cache": str(cache),
    }
    return raw | changes

"""The size of a checkpoint, read from its headers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from raykd.models.checkpoint import read_config


def describe(folder: Path) -> dict[str, Any]:
    """Parameters, layers and width of a checkpoint's folder."""
    config = read_config(folder, str(folder))
    return {
        "parameters": parameter_count(folder),
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden_size": getattr(config, "hidden_size", None),
    }


def parameter_count(folder: Path) -> int:
    """Numbers in its safetensors files, from their headers alone."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total

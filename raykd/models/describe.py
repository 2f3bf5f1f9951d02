"""The size of a checkpoint, read from its headers."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import safe_open

from raykd.models.checkpoint import read_config

LAYER = re.compile(r"\.(?:layer|layers|h|block)\.(\d+)\.")
"""How architectures name the layers of their one stack."""


def describe(folder: Path) -> dict[str, Any]:
    """Parameters, layers and width of a checkpoint's folder."""
    config = read_config(folder, str(folder))
    return {
        "parameters": parameter_count(folder),
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden_size": getattr(config, "hidden_size", None),
    }


def parameter_count(folder: Path, layers: Collection[int] | None = None) -> int:
    """Numbers in its safetensors files, from their headers alone; of `layers` only, where a truncation keeps those."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                layer = LAYER.search(name)
                if layer is None or layers is None or int(layer[1]) in layers:
                    total += math.prod(file.get_slice(name).get_shape())
    return total

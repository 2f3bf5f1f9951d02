"""The size of a checkpoint, read from the headers of its weights: no weight is loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from raykd.models.checkpoint import INDEX, SINGLE, read_config
from raykd.models.hub_errors import reading


def describe(folder: Path) -> dict[str, Any]:
    """Parameters, layers and hidden_size of a checkpoint's folder; the last two None where the configuration has none.

    Raises:
        ModelError: its config.json or its weights cannot be read.
    """
    config = read_config(folder, str(folder))
    return {
        "parameters": parameter_count(folder),
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden_size": getattr(config, "hidden_size", None),
    }


def parameter_count(folder: Path) -> int:
    """How many numbers a checkpoint's weights are.

    Raises:
        ModelError: the weights cannot be read.
    """
    return count(stored_shapes(folder, str(folder)))


def count(shapes: dict[str, tuple[int, ...]]) -> int:
    """Numbers in tensors of these shapes, by name."""
    return sum(math.prod(shape) for shape in shapes.values())


def stored_shapes(folder: Path, where: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in the weights that `load` would read.

    Raises:
        ModelError: a file is missing, half written or damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with reading(where, "weights"):
        for path in _files(folder):
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    shapes[name] = tuple(file.get_slice(name).get_shape())
    return shapes


def _files(folder: Path) -> list[Path]:
    """The one file, or the shards that the index names."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return [folder / str(name) for name in sorted(set(index["weight_map"].values()))]

"""One consistent checkpoint: student, optimizer, position and teachers of the same step, whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raykd.files import replacing_folder, sha256

log = logging.getLogger(__name__)
KEEP = 2
MANIFEST = "manifest.json"
"""The step, and the sha256 of every other file of a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: the loop's state, and the folder that holds what others have put beside it."""

    folder: Path
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], beside: Callable[[Path], None] = lambda draft: None
) -> Path:
    """Writes `folder/step-…` whole or not at all, and drops checkpoints older than the last two.

    Args:
        beside: writes further files of the same step into the draft folder that it is called with.
    """
    target = folder / f"step-{step:08d}"
    with replacing_folder(target) as draft:
        with (draft / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside(draft)
        digests = {file.name: sha256(file) for file in sorted(draft.iterdir())}
        (draft / MANIFEST).write_text(json.dumps({"step": step, "sha256": digests}), encoding="utf-8")
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None; a damaged one is passed over with a warning."""
    for checkpoint in reversed(_checkpoints(folder)):
        try:
            digests = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["sha256"]
            whole = "state.pt" in digests and all(sha256(checkpoint / name) == want for name, want in digests.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if whole:
            return Checkpoint(checkpoint, torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True))
        log.warning("checkpoint %s is damaged, going back to the one before", checkpoint.name)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []

"""One consistent cut: student, optimizer, position and teachers of the same step, named only once it is whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: the loop's state, and the folder that holds what others have put beside it."""

    folder: Path
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], beside: Callable[[Path], None] = lambda draft: None
) -> Path:
    """Writes `folder/step-…` through a temporary folder and a rename, and drops cuts older than the last two.

    Args:
        beside: writes further files of the same step into the folder that it is given.
    """
    target = folder / f"step-{step:08d}"
    draft = folder / f".draft-{step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with (draft / "state.pt").open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside(draft)
    digests = {file.name: _sha256(file) for file in sorted(draft.iterdir())}
    (draft / "cut.json").write_text(json.dumps({"step": step, "sha256": digests}), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole cut, or None; a damaged one is passed over with a warning."""
    for checkpoint in reversed(_checkpoints(folder)):
        try:
            said = json.loads((checkpoint / "cut.json").read_text(encoding="utf-8"))["sha256"]
            whole = "state.pt" in said and all(_sha256(checkpoint / name) == digest for name, digest in said.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if whole:
            return Checkpoint(checkpoint, torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True))
        log.warning("checkpoint %s is damaged, going back to the one before", checkpoint.name)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

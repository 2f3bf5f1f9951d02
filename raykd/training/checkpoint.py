"""One consistent cut: student, optimizer and position of the same step in one file, named only once it is whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)
KEEP = 2


def save_cut(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes `folder/step-…` through a temporary folder and a rename, and drops cuts older than the last two."""
    target = folder / f"step-{step:08d}"
    draft = folder / f".draft-{step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with (draft / "state.pt").open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    digest = _sha256(draft / "state.pt")
    (draft / "cut.json").write_text(json.dumps({"step": step, "sha256": digest}), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    for old in _cuts(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_cut(folder: Path) -> dict[str, Any] | None:
    """The newest whole cut, or None; a damaged one is passed over with a warning."""
    for cut in reversed(_cuts(folder)):
        try:
            said = json.loads((cut / "cut.json").read_text(encoding="utf-8"))["sha256"]
            whole = _sha256(cut / "state.pt") == said
        except (OSError, ValueError, KeyError):
            whole = False
        if whole:
            return torch.load(cut / "state.pt", map_location="cpu", weights_only=True)
        log.warning("checkpoint %s is damaged, going back to the one before", cut.name)
    return None


def _cuts(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What PBT copies from one student to another: the cut of an evaluation and the best checkpoint so far.

Jaderberg et al. 2017, "Population Based Training of Neural Networks": a member that lags behind takes over the weights
and the optimizer of one that leads (exploit), with changed rates (explore).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from raykd.errors import RunError
from raykd.training.checkpoint import load_checkpoint, save_checkpoint


def save_member(checkpoints: Path, folder: Path) -> Path:
    """Puts a trial's newest cut and best checkpoint into `folder`, by links where the disk has them."""
    newest = max(checkpoints.glob("step-*"))
    for source in (newest, *checkpoints.glob("best-*")):
        shutil.copytree(source, folder / source.name, copy_function=_link)
    return folder


def clone_from(packed: Path, checkpoints: Path) -> int:
    """Makes a packed cut the newest and only one of a trial; returns its step.

    Raises:
        RunError: the cut is damaged.
    """
    checkpoint = load_checkpoint(packed)
    if checkpoint is None:
        raise RunError(str(packed), "holds no whole cut to take over")
    draft = checkpoints.with_name(".draft-checkpoints")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    outcome = dict(checkpoint.state["outcome"])
    if outcome["best"]:
        name = Path(outcome["best"]).name
        shutil.copytree(packed / name, draft / name)
        outcome["best"] = str(checkpoints / name)
    beside = [file for file in checkpoint.folder.iterdir() if file.name not in ("state.pt", "cut.json")]

    def put(folder: Path) -> None:
        for file in beside:
            shutil.copy2(file, folder / file.name)

    save_checkpoint(draft, outcome["step"], {**checkpoint.state, "outcome": outcome}, beside=put)
    shutil.rmtree(checkpoints, ignore_errors=True)
    draft.rename(checkpoints)
    return int(outcome["step"])


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or none that knows links
        shutil.copy2(source, target)

"""What PBT copies from one student to another: the checkpoint of an evaluation and the best one so far.

Jaderberg et al. 2017, "Population Based Training of Neural Networks": a member that lags behind takes over the weights
and the optimizer of one that leads (exploit), with changed rates (explore).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from raykd.errors import RunError
from raykd.files import replacing_folder
from raykd.training.checkpoint import MANIFEST, load_checkpoint, save_checkpoint


def save_member(checkpoints: Path, folder: Path) -> Path:
    """Puts a trial's newest checkpoint and its best one into `folder`, by links where the disk has them."""
    newest = max(checkpoints.glob("step-*"))
    for source in (newest, *checkpoints.glob("best-*")):
        shutil.copytree(source, folder / source.name, copy_function=_link)
    return folder


def clone_from(packed: Path, checkpoints: Path) -> int:
    """Makes a packed checkpoint the newest and only one of a trial; returns its step.

    Raises:
        RunError: the checkpoint is damaged.
    """
    checkpoint = load_checkpoint(packed)
    if checkpoint is None:
        raise RunError(str(packed), "holds no whole checkpoint to take over")
    outcome = dict(checkpoint.state["outcome"])
    beside = [file for file in checkpoint.folder.iterdir() if file.name not in ("state.pt", MANIFEST)]

    def put(folder: Path) -> None:
        for file in beside:
            shutil.copy2(file, folder / file.name)

    with replacing_folder(checkpoints) as draft:
        if outcome["best"]:
            name = Path(outcome["best"]).name
            shutil.copytree(packed / name, draft / name)
            outcome["best"] = str(checkpoints / name)
        save_checkpoint(draft, outcome["step"], {**checkpoint.state, "outcome": outcome}, beside=put)
    return int(outcome["step"])


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or none that knows links
        shutil.copy2(source, target)

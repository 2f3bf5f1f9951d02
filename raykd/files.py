"""Files and folders that are there whole or not at all, and their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def draft_in(folder: Path, name: str = "") -> Iterator[Path]:
    """Yields a path in a folder for a file that is still being written, which the caller renames once it is whole.

    What lies under the path at the end is removed; readers pass over names that begin with `.draft-`.
    """
    draft = folder / f".draft-{uuid.uuid4().hex[:12]}-{name}"
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a draft beside `path` that takes its place in one move at the end; an error leaves `path` as it was."""
    with draft_in(path.parent, path.name) as draft:
        yield draft
        os.replace(draft, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8) whole."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole; numpy scalars become floats."""
    write_text(path, json.dumps(content, indent=1, default=float))


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder: yields an empty draft folder; what a killed process left of it is dropped first."""
    draft = path.with_name(f".draft-{path.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    shutil.rmtree(path, ignore_errors=True)
    draft.rename(path)

"""Fixtures that write a small corpus and load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus_files import Load, Write, write_file

from raykd.config import DataConfig, TaskConfig
from raykd.data.corpus import Corpus, load


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes `data/NAME`: columns in the format of the suffix, or raw bytes."""
    (tmp_path / "data").mkdir()
    return lambda name, content: write_file(tmp_path / "data" / name, content)


@pytest.fixture
def load_written(tmp_path: Path) -> Load:
    """Loads what `write` wrote; keywords go to the data section, `task` to the task."""

    def call(task: TaskConfig | str = "classification", **keys: Any) -> Corpus:
        task = TaskConfig(type=task) if isinstance(task, str) else task
        return load(DataConfig(**{"source": str(tmp_path / "data"), **keys}), task, tmp_path / "cache")

    return call

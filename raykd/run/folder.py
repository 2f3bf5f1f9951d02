"""A run's folder: claimed by one configuration, finished once, gone on with otherwise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from raykd import config as configuration
from raykd.config import RunConfig
from raykd.errors import ConfigError, RunError


class RunFolder:
    """The folder of one run; see DESIGN section 5."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def claimed(self, config: RunConfig) -> Iterator[None]:
        """Holds the folder for this process.

        Raises:
            ConfigError: the folder belongs to another configuration.
            RunError: another process works in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(self.path / ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(str(self.path), "another process works in this folder", "wait, or give --output") from None
        try:
            self._check(config)
            yield
        finally:
            lock.release()

    def write_config(self, config: RunConfig) -> None:
        """Writes the resolved configuration: from now on the folder is this run's."""
        configuration.save(config, self.path / "config.yaml")

    def _check(self, config: RunConfig) -> None:
        path = self.path / "config.yaml"
        if not path.exists():
            if any(item.name != ".lock" for item in self.path.iterdir()):
                raise ConfigError(str(self.path), "is not empty and no run's folder", "give another --output")
            return
        changed = configuration.changed_key(configuration.load(path), config)
        if changed is not None:
            what = f"holds a run whose {changed} differs"
            raise ConfigError(str(self.path), what, "give another --output, or the old value to go on with it")

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run."""
        path = self.path / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def baseline(self, name: str) -> Path:
        """The folder of a baseline's run."""
        return self.path / "baselines" / name

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Writes a file whole or not at all."""
        draft = path.with_name(f".draft-{path.name}")
        draft.write_text(json.dumps(content, indent=1, default=float), encoding="utf-8")
        draft.rename(path)

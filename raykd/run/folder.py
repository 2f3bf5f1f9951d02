"""The folder of a run, study or several domains: claimed by one configuration, finished once, resumed otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from raykd import config as configuration
from raykd.config import RunConfig
from raykd.errors import ConfigError, RunError
from raykd.files import write_text
from raykd.records.domains_result import DomainsResult
from raykd.records.result import TITLES, AnyResult, read_result
from raykd.records.run_result import RunResult
from raykd.records.study_result import StudyResult

R = TypeVar("R", RunResult, StudyResult, DomainsResult)


class RunFolder:
    """The folder of one run, trial, study or of several domains; its files are listed in docs/design.md, "Folders"."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def claimed(self, config: RunConfig) -> Iterator[None]:
        """Holds the folder for this process.

        Raises:
            ConfigError: the folder belongs to another configuration, or to another version of raykd.
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
        changed = configuration.changed_key(self._config_before(path), config)
        if changed is not None:
            what = f"holds a run whose {changed} differs"
            raise ConfigError(str(self.path), what, "give another --output, or the old value to resume it")

    def _config_before(self, path: Path) -> RunConfig:
        try:
            return configuration.load(path, each_domain=True)
        except ConfigError as error:
            key = error.where.rpartition(": ")[2]
            what = f"holds a run of another version of raykd, or its config.yaml was changed: {key} {error.what}"
            raise ConfigError(str(self.path), what, f"{error.mend}; give another --output") from None

    def run_result(self) -> RunResult | None:
        """The result of a finished run or trial; None while it is not finished.

        Raises:
            ConfigError: result.json is damaged, of another version of raykd, or no run's.
        """
        return self._result(RunResult)

    def study_result(self) -> StudyResult | None:
        """The result of a finished study; errors as for `run_result`."""
        return self._result(StudyResult)

    def domains_result(self) -> DomainsResult | None:
        """The result of finished students of several domains; errors as for `run_result`."""
        return self._result(DomainsResult)

    def _result(self, kind: type[R]) -> R | None:
        try:
            result = read_result(self.path / "result.json")
        except RunError as error:
            what = f"holds a run of another version of raykd, or a damaged one: result.json {error.what}"
            raise ConfigError(str(self.path), what, "give another --output") from None
        if result is None or isinstance(result, kind):
            return result
        what = f"holds {TITLES[type(result)]}, not {TITLES[kind]}"
        raise ConfigError(str(self.path), what, "give another --output")

    def write_result(self, result: AnyResult) -> None:
        """Writes result.json whole: from now on the run is finished. NaN and infinite floats become null."""
        write_text(self.path / "result.json", result.model_dump_json(indent=1))

    def baseline(self, name: str) -> Path:
        """The folder of a baseline's run."""
        return self.path / "baselines" / name

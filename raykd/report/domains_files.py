"""Reads the folder of several domains, finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raykd.errors import ConfigError
from raykd.records.domains_result import DomainsResult
from raykd.records.domains_state import DomainsState
from raykd.records.result import read_result
from raykd.report.run_files import read_text


@dataclass(frozen=True)
class Domains:
    """What the folder of several domains holds; `result` is None while a domain is not finished."""

    folder: Path
    state: DomainsState
    result: DomainsResult | None = None
    config_text: str = ""

    @property
    def name(self) -> str:
        """The configuration's name, or the folder's while it is not finished."""
        return self.result.name if self.result else self.folder.resolve().name


def is_domains(folder: Path) -> bool:
    """Whether a folder is that of several domains."""
    return bool(DomainsState.read(folder).all)


def read_domains(folder: Path) -> Domains:
    """Reads all that is there.

    Raises:
        ConfigError: the folder is not that of several domains.
        RunError: result.json is damaged or of another version.
    """
    folder = Path(folder)
    state, result = DomainsState.read(folder), read_result(folder / "result.json")
    if not state.all or not isinstance(result, DomainsResult | None):
        raise ConfigError(str(folder), "holds no students of domains", "give the folder that `raykd domains` wrote")
    return Domains(folder, state, result, read_text(folder / "config.yaml"))

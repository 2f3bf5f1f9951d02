"""Which domains there are, and the run of each: its configuration, folder and rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raykd import config as configuration
from raykd.config import RunConfig
from raykd.data.corpus import Corpus
from raykd.data.holdout import in_domains
from raykd.data.tasks import Task
from raykd.errors import ConfigError, DataError
from raykd.records.domains_state import DomainsState
from raykd.run.context import open_corpus
from raykd.run.folder import RunFolder

OPTION = "--domains"
RESERVED = {"best", "checkpoints", "figures", "start", "stop", "student", "teachers", "trials", "tune"}
"""Names within a folder that mean something else."""
LONGEST = 40


@dataclass(frozen=True)
class DomainRun:
    """The run of one domain, as `raykd distill` has it with data.target_domain.

    Attributes:
        name: of its folder within the whole one.
        corpus: whose rows are the domain's; its files are those of all domains.
    """

    domain: str
    name: str
    config: RunConfig
    folder: RunFolder
    corpus: Corpus
    task: Task


def check_config(config: RunConfig) -> None:
    """Refuses what does not go together with a student for each domain.

    Raises:
        ConfigError: it names a target domain or filters domains, or is a study's.
    """
    if config.data.target_domain is not None:
        mend = "leave it out, or train its student alone: raykd distill"
        raise ConfigError("data.target_domain", "is set, and raykd domains sets it for each domain", mend)
    if config.data.domains is not None:
        what = "filters the rows of the teachers too, and raykd domains has one student for each domain"
        raise ConfigError("data.domains", what, f"leave it out, and name the students' domains by {OPTION}")
    if config.study is not None:
        what = "raykd domains trains one student for each domain and searches nothing"
        raise ConfigError("study", what, "leave it out: study=null")


def plan_domains(config: RunConfig, folder: Path, names: Sequence[str] | None = None) -> list[DomainRun]:
    """The run of each domain of the data, or of these.

    Args:
        folder: the whole one.

    Raises:
        ConfigError: a name is given twice, or the folder holds the runs of other domains.
        DataError: the rows have no domains, a name is unknown, or the rows of a domain cannot be used.
    """
    domains = _domains(config, names)
    check_folder(folder, domains, config)
    folders = folder_names(domains)
    return [_run(config, folder, domain, folders[domain]) for domain in domains]


def check_folder(folder: Path, domains: Sequence[str] | None, config: RunConfig) -> None:
    """Refuses a folder of a run or study that is not finished, and one of other domains than these; None: all that the
    data has.

    Raises:
        ConfigError: with what it holds.
    """
    state = DomainsState.read(folder)
    before = list(state.all)
    if domains is None and state.named:
        domains = _domains(config, None)
    other = next((kind for name, kind in (("start", "run"), ("tune", "study")) if (folder / name).exists()), None)
    if other is not None:
        raise ConfigError(str(folder), f"holds an unfinished {other}", "give another --output")
    if domains is not None and before and set(domains) != set(before):
        mend = f"{OPTION} {','.join(before)}, or give another --output"
        raise ConfigError(str(folder), f"holds the students of the domains {', '.join(before)}: {OPTION} differs", mend)


def folder_names(domains: Sequence[str]) -> dict[str, str]:
    """A folder for each domain: its name, with a hash behind it where that is no name of a folder, or is taken."""
    names: dict[str, str] = {}
    for domain in domains:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", domain)[:LONGEST]
        alike = sum(other.casefold() == domain.casefold() for other in domains) > 1
        if plain != domain or alike or plain.casefold() in RESERVED:
            plain = f"{plain}-{hashlib.sha256(domain.encode()).hexdigest()[:8]}"
        names[domain] = plain
    return names


def _domains(config: RunConfig, names: Sequence[str] | None) -> list[str]:
    corpus, _ = open_corpus(config)
    rows = corpus.rows("train")
    ids = corpus.teachable if len(corpus.teachable) else corpus.ids["unlabeled"]
    found = rows.domains(ids)
    if found is None:
        raise DataError(f"data {config.data.source}", "its rows have no column of domains", "name it as data.domain")
    if names is None:
        return sorted(set(found))
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(OPTION, f"{name!r} is given twice", "give each domain once")
    in_domains(rows, ids, list(names), f"data {config.data.source}", OPTION)
    return list(names)


def _run(config: RunConfig, folder: Path, domain: str, name: str) -> DomainRun:
    raw = config.model_dump(mode="json", by_alias=True)
    raw["name"] = f"{config.name}-{name}"
    raw["data"]["target_domain"] = domain
    raw["cache"] = str(config.cache_folder)
    own = configuration.parse(raw, where=f"domain {domain}")
    return DomainRun(domain, name, own, RunFolder(folder / name), *open_corpus(own))

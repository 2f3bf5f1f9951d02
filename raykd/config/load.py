"""YAML plus dotted overrides to a `RunConfig`; every mistake is one line that names the key and the mend."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raykd.config.base import Mark
from raykd.config.explain import Sources, explained, refuse_renamed
from raykd.config.keys import marked
from raykd.config.overlay import merge, put
from raykd.config.run import EACH_DOMAIN, RunConfig
from raykd.config.yaml_file import read_yaml, read_yaml_file, yaml_text
from raykd.errors import ConfigError
from raykd.files import write_text


def load(path: str | Path, overrides: Sequence[str] = (), each_domain: bool = False) -> RunConfig:
    """Reads a configuration file and applies `KEY=VALUE` overrides with dotted keys.

    A file may have `extends: OTHER.yaml` (beside it): its own keys are laid over that one's, mapping by mapping; a
    list takes the other's place as a whole, and another type drops the keys that only the old one has.

    Args:
        each_domain: the configuration of `raykd domains`: a teacher's domains may be those of the target domain,
            although none is set.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value does not fit.
    """
    return parse(_read(Path(path), ()), overrides, str(path), each_domain)


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    raw = read_yaml_file(path)
    if not isinstance(raw, dict):
        raise ConfigError(str(path), "a configuration is a mapping of keys", "see workloads/ for examples")
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends", "is not the path of a YAML file", "for example extends: rl_kd.yaml")
    below = (path.parent / base).resolve()
    if below in (path.resolve(), *extended_by):
        raise ConfigError(f"{path}: extends", f"{base} extends this file itself", "break the circle")
    return merge(raw, _read(below, (*extended_by, path.resolve())))


def parse(
    raw: dict[str, Any], overrides: Sequence[str] = (), where: str = "configuration", each_domain: bool = False
) -> RunConfig:
    """Validates a mapping, which is left as it is, with overrides applied; errors as for `load`."""
    raw = copy.deepcopy(raw)
    sources = Sources(where, tuple(_apply(raw, override) for override in overrides))
    refuse_renamed(raw, sources)
    try:
        return RunConfig.model_validate(raw, context={EACH_DOMAIN: each_domain})
    except ValidationError as error:
        raise explained(error, sources) from None


def save(config: RunConfig, path: Path) -> None:
    """Writes the resolved configuration as YAML."""
    write_text(path, yaml_text(config.model_dump(mode="json", by_alias=True)))


def changed_key(before: RunConfig, after: RunConfig) -> str | None:
    """The first dotted key in which two configurations differ; where things run and are cached does not count."""
    old, new = settings(before), settings(after)
    return next((key for key in [*new, *old] if old.get(key) != new.get(key)), None)


def settings(config: RunConfig) -> dict[str, Any]:
    """All values by dotted key, without those of where things run and are cached."""
    values = flat(config.model_dump(mode="json", by_alias=True))
    return {key: value for key, value in values if not marked(RunConfig, key.split("."), Mark.PLACEMENT)}


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a mapping and their values; a list of sections by place, one of plain values whole."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for k, item in enumerate(value):
            yield from flat(item, f"{prefix}.{k}")
    else:
        yield prefix, value


def _apply(raw: dict[str, Any], override: str) -> str:
    """Sets the value of one `KEY=VALUE` in the mapping; returns the key."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}", "is not KEY=VALUE", "for example train.epochs=2")
    put(raw, key, read_yaml(text, f"override {key}"))
    return key

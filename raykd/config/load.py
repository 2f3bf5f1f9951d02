"""YAML plus dotted overrides to a `RunConfig`; every mistake is one line that names the key and the mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from raykd.config.keys import nearest, section_at
from raykd.config.run import RunConfig
from raykd.errors import ConfigError

PLACEMENT = {
    "replicas", "num_cpus", "num_gpus", "batch_tokens", "worker_cpus", "max_failures", "prefetch", "overlap",
    "concurrency", "time_budget_s",
}  # fmt: skip
PLACEMENT_MAPS = {"resources", "node_labels", "worker_resources"}
"""Where and how wide things run: a run may go on with other ones."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration file and applies `KEY=VALUE` overrides with dotted keys.

    A file may say `extends: OTHER.yaml` (beside it): its own keys are laid over that one's, mapping by mapping; a
    list takes the other's place as a whole.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value does not fit.
    """
    return parse(_read(Path(path), ()), overrides, str(path))


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "no such configuration file", "give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), f"cannot be read as YAML: {' '.join(str(error).split())}") from None
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
    return _laid_over(raw, _read(below, (*extended_by, path.resolve())))


def _laid_over(top: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `top` in their place; mappings that both have are laid over each other."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _laid_over(value, base[key]) if both else value
    return merged


def parse(raw: dict[str, Any], overrides: Sequence[str] = (), where: str = "configuration") -> RunConfig:
    """Validates a mapping with overrides applied; errors as for `load`."""
    for override in overrides:
        _apply(raw, override)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, where) from None


def save(config: RunConfig, path: Path) -> None:
    """Writes the resolved configuration as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False), encoding="utf-8")


def changed_key(before: RunConfig, after: RunConfig) -> str | None:
    """The first dotted key in which two configurations differ; where things run and are cached does not count."""
    old, new = (
        {key: value for key, value in _flat(config.model_dump(mode="json", by_alias=True)) if not _placement(key)}
        for config in (before, after)
    )
    return next((key for key in [*new, *old] if old.get(key) != new.get(key)), None)


def _placement(key: str) -> bool:
    parts = key.split(".")
    return parts[0] in ("cluster", "cache", "trackers") or parts[-1] in PLACEMENT or bool(PLACEMENT_MAPS & set(parts))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for k, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{k}")
    else:
        yield prefix, value


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}", "is not KEY=VALUE", "for example train.epochs=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {key}", f"cannot read the value {text!r}", "quote it as in YAML") from None
    if isinstance(value, str):
        value = _number(value)
    here: Any = raw
    parts = key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, list):
            if not part.isdigit() or int(part) >= len(here):
                place = ".".join(parts[:depth])
                raise ConfigError(f"override {key}", f"{place} has no item {part}", f"it has 0 to {len(here) - 1}")
            index: Any = int(part)
        else:
            index = part
            if not last and not isinstance(here.get(part), (dict, list)):
                here[part] = _expanded(RunConfig, parts[: depth + 1], here.get(part))
        if last:
            here[index] = value
        else:
            if isinstance(here, list) and not isinstance(here[index], (dict, list)):
                here[index] = _expanded(RunConfig, parts[: depth + 1], here[index])
            here = here[index]


def _number(text: str) -> Any:
    """YAML 1.1 reads 1e-4 as text; people mean the number."""
    try:
        return float(text) if "e" in text.lower() else text
    except ValueError:
        return text


def _expanded(root: type[BaseModel], keys: list[str], value: Any) -> dict[str, Any]:
    """A section's shorthand (`student: folder`) as the mapping that an override can go into."""
    section = section_at(root, keys)
    if value is None or section is None:
        return {}
    shorthand = getattr(section, "shorthand", None)
    return {shorthand: value} if shorthand else {}


def _explain(error: ValidationError, where: str) -> ConfigError:
    """The first complaint as one line, with the nearest valid name for an unknown key."""
    first = error.errors()[0]
    # Pydantic names the branch of a union in the location (`layers.int`); a person's key ends before it.
    location = [part for part in first["loc"] if not (isinstance(part, str) and part in ("int", "str", "list[int]"))]
    key = ".".join(str(part) for part in location)
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        section = section_at(RunConfig, location[:-1]) or RunConfig
        return ConfigError(place, "unknown key", nearest(section, str(location[-1])))
    if first["type"] == "missing":
        return ConfigError(place, "is missing", "this key must be given")
    said = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    got = f", got {value!r}" if isinstance(value, (str, int, float, bool)) else ""
    return ConfigError(place, said[0].lower() + said[1:] + got)

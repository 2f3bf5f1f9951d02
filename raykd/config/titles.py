"""The short phrase of a type, as card, page and reference use it, and what a section of that type sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raykd.config.choice import Choice
from raykd.config.keys import family_at, names_in
from raykd.config.run import RunConfig
from raykd.config.weighting import WeightingConfig


def title_of(key: str, name: str, cited: bool = False) -> str:
    """The title of a type of `weighting`, `feedback`, `objective`, …; the name itself where no such type is known.

    Args:
        cited: with its citation in brackets, where it has one.
    """
    kind = _kind(key, name)
    if kind is None:
        return name
    return f"{kind.title} ({kind.citation})" if cited and kind.citation else kind.title


def described(key: str, section: Mapping[str, Any], beside: tuple[str, ...] = (), cited: bool = True) -> str:
    """The title of a section's type with its citation, then the section's values: `title (citation), sharpness 2`.

    Args:
        section: with its `type`, as `model_dump(mode="json")` gives it.
        beside: keys whose values are told elsewhere.
    """
    name = str(section["type"])
    kind = _kind(key, name)
    keys = [] if kind is None else [own for own in names_in(kind) if own not in ("type", *beside)]
    values = [f"{own} {_plain(section[own])}" for own in keys if section.get(own) is not None]
    return ", ".join([title_of(key, name, cited), *values])


def baseline_described(rule: str) -> str:
    """The title of a rule and the values that it has as a baseline, which are its defaults."""
    kind: Any = WeightingConfig.types()[rule]
    return described("weighting", kind().model_dump(mode="json", by_alias=True), cited=False)


def _kind(key: str, name: str) -> type[Choice] | None:
    family = family_at(RunConfig, key.split("."))
    return family.types().get(name) if family is not None else None


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return str(value)

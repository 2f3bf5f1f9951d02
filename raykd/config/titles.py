"""The short phrase of a type, as card, page and reference use it."""

from __future__ import annotations

from raykd.config.keys import family_at
from raykd.config.run import RunConfig


def title_of(key: str, name: str, cited: bool = False) -> str:
    """The title of a type of `weighting`, `feedback`, `objective`, …; the name itself where no such type is known.

    Args:
        cited: with its citation in brackets, where it has one.
    """
    family = family_at(RunConfig, key.split("."))
    kind = family.types().get(name) if family is not None else None
    if kind is None:
        return name
    return f"{kind.title} ({kind.citation})" if cited and kind.citation else kind.title

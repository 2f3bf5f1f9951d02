"""One value laid over a configuration before it is validated: by an override, by `extends`, or by a trial of a study.

Where the value gives a section another type, the keys that only the old type has are dropped; keys that both have stay.
"""

from __future__ import annotations

from typing import Any

from raykd.config.base import Section
from raykd.config.choice import Choice
from raykd.config.keys import family_at, names_in, sections_at
from raykd.config.run import RunConfig
from raykd.errors import ConfigError

Raw = dict[str, Any]
"""A configuration or a section of it, as YAML has it."""
Place = tuple[str, ...]
"""A dotted key by its parts."""


def put(raw: Raw, key: str, value: Any) -> None:
    """Sets a dotted key in place; shorthands on the way become the mappings that they stand for.

    Raises:
        ConfigError: a list has no such item.
    """
    here: Any = raw
    place: Place = ()
    *above, last = key.split(".")
    for part in above:
        index = _index(here, part, place, key)
        below = here[index] if isinstance(here, list) else here.get(part)
        place = (*place, part)
        if not isinstance(below, (dict, list)):
            here[index] = below = expanded(below, place)
        here = below
    index, family = _index(here, last, place, key), family_at(RunConfig, place)
    if family is not None and last == family.discriminator and isinstance(value, str):
        changed = with_type(family, here, value)
        here.clear()
        here.update(changed)
    else:
        here[index] = _laid(here[index] if isinstance(here, list) else here.get(last), value, (*place, last))


def merge(top: Raw, base: Raw, place: Place = ()) -> Raw:
    """`base` with the keys of `top` in their place; mappings that both have are laid over each other."""
    merged, family = dict(base), family_at(RunConfig, place)
    kind = top.get(family.discriminator) if family is not None else None
    if family is not None and isinstance(kind, str):
        merged = with_type(family, merged, kind)
    for key, value in top.items():
        below, there = merged.get(key), (*place, key)
        if isinstance(value, dict) and isinstance(below, (str, int, float)):
            below = expanded(below, there) or None
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = merge(value, below, there)
        else:
            merged[key] = _laid(below, value, there)
    return merged


def with_type(family: type[Choice], section: Raw, kind: str) -> Raw:
    """A section with another type: what only its old type has is dropped, what both have stays."""
    types, name = family.types(), family.discriminator
    old, new = types.get(family.type_of(section)), types.get(kind)
    gone = set(names_in(old)) - set(names_in(new)) if old is not None and new is not None else set()
    return {key: value for key, value in section.items() if key not in gone} | {name: kind}


def expanded(value: Any, place: Place) -> Raw:
    """The mapping that the shorthand at this place stands for; empty where it stands for none."""
    section = family_at(RunConfig, place) or next(iter(sections_at(RunConfig, place)), None)
    mapping = value if section is None else section.expand(value)
    return dict(mapping) if isinstance(mapping, dict) else {}


def has_key(raw: Raw, key: str) -> bool:
    """Whether the types that a configuration has chosen have this dotted key."""
    section: type[Section] | None = RunConfig
    here, place = raw, Place()
    for part in key.split("."):
        if section is None or part not in names_in(section):
            return False
        below, place = here.get(part), (*place, part)
        here = below if isinstance(below, dict) else expanded(below, place)
        family = family_at(RunConfig, place)
        if family is not None:
            section = family.types().get(family.type_of(here))
        else:
            section = next(iter(sections_at(RunConfig, place)), None)
    return True


def _laid(below: Any, value: Any, place: Place) -> Any:
    """A value in the place of another; a bare type over a section of that choice keeps what the new type has too."""
    family = family_at(RunConfig, place)
    if below is None or not isinstance(value, str) or family is None or family.shorthand != family.discriminator:
        return value
    return with_type(family, expanded(below, place), value)


def _index(here: Any, part: str, place: Place, key: str) -> Any:
    if not isinstance(here, list):
        return part
    # More digits than any list has items: Python refuses to read thousands of them as a number.
    if not part.isdecimal() or len(part) > 6 or int(part) >= len(here):
        raise ConfigError(
            f"override {key}", f"{'.'.join(place)} has no item {part:.20}", f"it has 0 to {len(here) - 1}"
        )
    return int(part)

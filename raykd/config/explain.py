"""What is wrong with a configuration, as one line that names the key and the mend."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from raykd.config.base import Section
from raykd.config.choice import Choice
from raykd.config.keys import (
    family_of,
    field_in,
    is_key,
    names_in,
    nearest,
    nearest_of,
    new_name,
    plain_message,
    sections_of,
)
from raykd.config.run import RunConfig
from raykd.errors import ConfigError


@dataclass(frozen=True)
class Sources:
    """Where the values of a configuration were written.

    Attributes:
        file: name of the file.
        overrides: the keys that overrides have set, in their order.
    """

    file: str
    overrides: tuple[str, ...] = ()

    def place(self, key: str) -> str:
        """What a message begins with: the override that has set the key or a section above it, else the file."""
        above = [own for own in self.overrides if key == own or key.startswith(f"{own}.")]
        if not above:
            return f"{self.file}: {key}" if key else self.file
        return f"override {key}" if above[-1] == key else f"override {above[-1]}: {key}"

    def unknown(self, key: str) -> str:
        """The same for a key that does not exist: an override of a key below it has made it."""
        below = [own for own in self.overrides if own.startswith(f"{key}.")]
        return f"override {below[-1]}" if below else self.place(key)

    def split(self, message: str) -> tuple[str, str]:
        """Place and rest of a message about several keys, which begins with the one to change, `KEY: …`."""
        key, colon, rest = message.partition(": ")
        where = self.place(key)
        return (where, rest) if colon and where.startswith("override ") else (self.file, message)


def refuse_renamed(raw: dict[str, Any], sources: Sources) -> None:
    """Refuses keys of before, in the file and in the space of its study.

    Raises:
        ConfigError: the first of them, with its new name.
    """
    study = raw.get("study")
    space = study.get("space") if isinstance(study, dict) else None
    searched = {f"study.space.{key}": str(key).split(".") for key in space} if isinstance(space, dict) else {}
    for place, key in [*((".".join(key), key) for key in _keys(raw)), *searched.items()]:
        renamed = new_name(key)
        # A type of another package may have a field of such a name.
        if renamed is not None and not is_key(RunConfig, key):
            raise ConfigError(sources.place(place), "has another name now", f"write {renamed}")


def explained(error: ValidationError, sources: Sources) -> ConfigError:
    """The first complaint, with the nearest valid name for an unknown key or type."""
    first = error.errors()[0]
    place = _Place()
    for part in first["loc"]:
        place.enter(part)
    key = sources.place(".".join(place.key))
    match first["type"]:
        case "extra_forbidden":
            return _unknown_key(sources.unknown(".".join(place.key)), place)
        case "union_tag_invalid" if place.family is not None:
            name, kind = place.family.discriminator, first["ctx"]["tag"]
            where = sources.place(".".join([*place.key, name]))
            return ConfigError(where, f"there is no {name} {kind!r}", nearest_of(list(place.family.types()), kind))
        case "model_attributes_type":
            return ConfigError(key, "is neither the name of a type nor a mapping")
        case "missing":
            return ConfigError(key, "is missing", "this key must be given")
    value = first.get("input")
    got = f", got {value!r}" if isinstance(value, (str, int, float, bool)) else ""
    message = plain_message(first["msg"]) + got
    return ConfigError(key, message) if place.key else ConfigError(*sources.split(message))


@dataclass
class _Place:
    """Follows pydantic's location of a complaint, which names types of a union and branches of plain values too.

    Attributes:
        key: what a person writes.
        sections: those that the last part may be in; none in a plain value.
        family: of the choice that the place is in, or is about to name a type of.
        kind: the type of it.
    """

    key: list[str] = field(default_factory=list)
    sections: list[type[Section]] = field(default_factory=lambda: [RunConfig])
    family: type[Choice] | None = None
    kind: str | None = None
    _mapping: bool = False

    def enter(self, part: str | int) -> None:
        """Takes the next part of the location into account."""
        if isinstance(part, int):
            self.key.append(str(part))
        elif self.family is not None and self.kind is None and part in self.family.types():
            self.kind, self.sections = part, [self.family.types()[part]]
        elif self._mapping:
            self.key.append(part)
            self._mapping = False
        else:
            self._enter_field(part)

    def _enter_field(self, name: str) -> None:
        known = next((each for section in self.sections if (each := field_in(section, name)) is not None), None)
        if known is not None:
            self.key.append(name)
            self.family, self.kind = family_of(known.annotation), None
            self.sections = [] if self.family is not None else sections_of(known.annotation)
            self._mapping = typing.get_origin(known.annotation) is dict
        elif self.sections:
            self.key.append(name)  # an unknown one
        # Else a branch of a union of plain values (`layers.int`): a person's key ends before it.


def _unknown_key(key: str, place: _Place) -> ConfigError:
    """A key that no type has, or that belongs to another type of its section."""
    name, family = place.key[-1], place.family
    if family is not None:
        owners = [kind for kind, section in family.types().items() if name in names_in(section)]
        if owners:
            what = f"`{name}` belongs to {family.discriminator} {', '.join(owners)}"
            return ConfigError(key, what, f"this is {family.discriminator}: {place.kind}")
    return ConfigError(key, "unknown key", nearest(place.sections, name))


def _keys(value: Any, above: tuple[str, ...] = ()) -> Iterator[Sequence[str]]:
    """Every dotted key of a raw configuration, sections before what is in them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        place = (*above, str(name))
        yield place
        yield from _keys(item, place)

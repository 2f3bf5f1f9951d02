"""One place per choice: a small model per type, and the union of them under one key of the configuration.

A family (`WeightingConfig`) is the base class of its types. Its types are the subclasses in its own module that give
the discriminator a value, and those that other packages declare as entry points of the family's group.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, ClassVar, Self, Union

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined

from raykd.config.base import Section
from raykd.errors import ConfigError, one_line


class Choice(Section):
    """Base of every family of types.

    Attributes:
        discriminator: the field whose value names the type.
        default_type: the type of a mapping that names none.
        group: the entry points through which other packages add types; None where they cannot.
        title: the short phrase for card, page and reference, after "how the teachers are blended: …".
        citation: the paper that a type follows, empty where there is none.
        implementation: `module:Class` of what does it. A string, so that a configuration imports neither torch nor ray.
    """

    discriminator: ClassVar[str] = "type"
    default_type: ClassVar[str] = ""
    group: ClassVar[str | None] = None
    title: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    implementation: ClassVar[str] = ""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping that a bare value stands for, with its type."""
        value = super().expand(value)
        if isinstance(value, dict) and cls.discriminator not in value:
            return {cls.discriminator: cls.type_name() or cls.type_of(value), **value}
        return value

    @classmethod
    def type_of(cls, section: dict[str, Any]) -> str:
        """The type that a mapping of this family names, else the one that it means."""
        return str(section.get(cls.discriminator, cls.default_type))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The mapping alone: `OneOf` adds the bare value for all types together."""
        return handler(schema)

    @classmethod
    def type_name(cls) -> str | None:
        """The name of this type; None of a family and of a base that several types share."""
        field = cls.model_fields.get(cls.discriminator)
        return None if field is None or field.default is PydanticUndefined else str(field.default)

    @classmethod
    def is_family(cls) -> bool:
        """Whether this is the base class of a union and no type of it."""
        return Choice in cls.__bases__

    @classmethod
    def types(cls) -> dict[str, type[Self]]:
        """The types of a family by name: raykd's own as their module has them, then those of other packages.

        Raises:
            ConfigError: an entry point of the group cannot be used.
        """
        return dict(_types(cls))

    @classmethod
    def of(cls, value: Any) -> Self:
        """A member of the family from a name, a mapping, or itself.

        Raises:
            pydantic.ValidationError: there is no such type, or a value does not fit.
        """
        member: Self = _adapter(cls).validate_python(value)
        return member

    def model_post_init(self, _context: Any) -> None:
        """Refuses a family's base class: it has no fields of a type."""
        if self.type_name() is None:
            raise TypeError(f"{type(self).__name__} is no type of its own: use {type(self).__name__}.of(…)")


@dataclass(frozen=True)
class OneOf:
    """Beside a family in `Annotated`: the value is of a type of it, chosen by the discriminator."""

    def __get_pydantic_core_schema__(self, source: type[Choice], handler: GetCoreSchemaHandler) -> CoreSchema:
        members = tuple(source.types().values())
        chosen: Any = Annotated[Union[members], Field(discriminator=source.discriminator)]  # noqa: UP007
        return handler.generate_schema(Annotated[chosen, BeforeValidator(source.expand)])

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The types, or the bare value that stands for one."""
        return {"anyOf": [{"type": "string"}, handler(core)]}


def load_implementation(config: Choice) -> Any:
    """The class that does what a type says.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, _, name = config.implementation.partition(":")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # another package's import may raise anything
        where = f"{type(config).__module__}.{type(config).__name__}"
        what = f"its implementation {config.implementation!r} cannot be loaded: {_one_line(error)}"
        raise ConfigError(where, what, "write it as module:Class") from None


@functools.cache
def _types(family: type[Choice]) -> dict[str, type[Any]]:
    types = {name: kind for kind in _subclasses(family) if (name := _own_type(family, kind))}
    for point in entry_points(group=family.group) if family.group else ():
        kind = _discovered(family, point)
        name = str(kind.type_name())
        if name in types:
            other = f"{types[name].__module__}:{types[name].__name__}"
            raise ConfigError(_where(family, point), f"its type {name!r} is that of {other}", "give it another name")
        types[name] = kind
    return types


@functools.cache
def _adapter(family: type[Choice]) -> TypeAdapter[Any]:
    chosen: Any = Annotated[family, OneOf()] if family.is_family() else family
    return TypeAdapter(chosen)


def _subclasses(kind: type[Choice]) -> Iterator[type[Choice]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _own_type(family: type[Choice], kind: type[Choice]) -> str | None:
    return kind.type_name() if kind.__module__ == family.__module__ else None


def _discovered(family: type[Choice], point: EntryPoint) -> type[Choice]:
    mend = "mend or uninstall the package that declares it"
    try:
        kind = point.load()
    except Exception as error:  # another package's import may raise anything
        raise ConfigError(_where(family, point), f"cannot be loaded: {_one_line(error)}", mend) from None
    if not (isinstance(kind, type) and issubclass(kind, family) and kind.type_name() and kind.implementation):
        what = f"is no {family.__name__} with a `{family.discriminator}` and an `implementation`"
        raise ConfigError(_where(family, point), what, mend)
    return kind


def _where(family: type[Choice], point: EntryPoint) -> str:
    return f"entry point {point.name} = {point.value} of {family.group}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"

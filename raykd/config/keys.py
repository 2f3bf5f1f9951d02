"""The schema of a configuration by dotted key: which section or field is there, and which valid name is nearest."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo


def section_at(root: type[BaseModel], keys: Sequence[str | int]) -> type[BaseModel] | None:
    """The pydantic model at a dotted key, if there is one."""
    here: type[BaseModel] | None = root
    for key in keys:
        if isinstance(key, int) or str(key).isdigit():
            continue
        found = field_in(here, str(key)) if here is not None else None
        here = _model_in(found.annotation) if found is not None else None
    return here


def field_in(section: type[BaseModel], key: str) -> FieldInfo | None:
    """A section's field under the name that a person writes."""
    by_alias = {field.alias or name: field for name, field in section.model_fields.items()}
    return by_alias.get(key)


def field_at(root: type[BaseModel], key: str) -> FieldInfo:
    """The field of a dotted key.

    Raises:
        ValueError: there is none; the message names the nearest that there is.
    """
    *above, last = key.split(".")
    for depth in range(len(above) + 1):
        section = section_at(root, above[:depth])
        name = [*above, last][depth]
        if section is None or field_in(section, name) is None:
            raise ValueError(f"no configuration key is named {key!r}: {nearest(section or root, name, above[:depth])}")
    found = field_in(section_at(root, above) or root, last)
    assert found is not None
    return found


def nearest(section: type[BaseModel], name: str, above: Sequence[str] = ()) -> str:
    """What a person may have meant by an unknown name, or what is known in the section."""
    names = [field.alias or known for known, field in section.model_fields.items()]
    near = difflib.get_close_matches(name, names, 1, 0.5)
    return f"did you mean {'.'.join([*above, near[0]])}?" if near else f"known here: {', '.join(names)}"


def validation_error(root: type[BaseModel], key: str, value: Any) -> str | None:
    """Why a value cannot stand under a key, whatever stands beside it; None where it can."""
    field = field_at(root, key)
    annotated: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(annotated).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        return said[0].lower() + said[1:]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType):
        return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
    return None

"""The schema of a configuration by dotted key: which fields may be there, what a key was called before, the nearest."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from raykd.config.base import Mark, Section
from raykd.config.choice import Choice

TRAINING = {
    "accumulate": "gradient_accumulation",
    "clip": "max_grad_norm",
    "warmup": "warmup_ratio",
    "patience": "early_stopping_patience",
}
RENAMED = {
    **{f"train.{old}": f"train.{new}" for old, new in TRAINING.items()},
    **{f"teachers[].finetune.{old}": f"finetune.{new}" for old, new in TRAINING.items()},
    "weighting.clip": "weighting.clip_ratio",
    "feedback.teacher_clip": "feedback.teacher_max_grad_norm",
    "feedback.teacher_warmup": "feedback.teacher_warmup_ratio",
    "feedback.teacher_anchor": "feedback.teacher_reference_kl",
    "data.carve_validation": "data.validation_from_train",
    "data.limit": "data.max_train_rows, which counts the rows of all holdouts too",
    "study.trackers": "trackers, beside `study`",
    "study.against": "study.minimize",
    "study.replicate": "study.repeat, with top_k for best",
    "study.repeat.best": "study.repeat.top_k",
    "study.scheduler.grace": "study.scheduler.grace_period",
    "study.scheduler.reduction": "study.scheduler.reduction_factor",
    "study.scheduler.interval": "study.scheduler.perturbation_interval",
    "study.scheduler.quantile": "study.scheduler.quantile_fraction",
    "study.scheduler.resample": "study.scheduler.resample_probability",
}
"""Keys of before, and what to write in their place."""

Key = Sequence[str | int]
"""A dotted key by its parts; an item of a list is a number, or digits."""


def named_parts(key: Key) -> list[str]:
    """A key's parts that name fields: without the places of items in lists."""
    return [part for part in key if isinstance(part, str) and not part.isdigit()]


def new_name(key: Key) -> str | None:
    """What a key of before is called now."""
    return RENAMED.get(re.sub(r"\.\d+(?=\.)", "[]", ".".join(map(str, key))))


def field_in(section: type[Section], key: str) -> FieldInfo | None:
    """A section's field under the name that a person writes."""
    return next((field for name, field in section.model_fields.items() if (field.alias or name) == key), None)


def names_in(section: type[Section]) -> list[str]:
    """The names of a section's fields as a person writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def sections_of(annotation: Any) -> list[type[Section]]:
    """The sections that a field may hold: every type of a union, an item of a list, a value of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Choice) and annotation.is_family():
        return list(annotation.types().values())
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    parts = typing.get_args(annotation)
    return [section for part in parts for section in sections_of(part)]


def family_of(annotation: Any) -> type[Choice] | None:
    """The family whose types a field chooses among, directly or as items of a list; None where it holds no choice."""
    if isinstance(annotation, type) and issubclass(annotation, Choice) and annotation.is_family():
        return annotation
    return next((family for part in typing.get_args(annotation) if (family := family_of(part))), None)


def fields_along(root: type[Section], key: Key) -> Iterator[list[FieldInfo]]:
    """The fields at each part of a key that names one, of every type that may be there; ends where there is none."""
    sections: Sequence[type[Section]] = [root]
    for part in named_parts(key):
        fields = [field for section in sections if (field := field_in(section, part)) is not None]
        if not fields:
            return
        yield fields
        sections = [section for field in fields for section in sections_of(field.annotation)]


def sections_at(root: type[Section], key: Key) -> list[type[Section]]:
    """The sections that may be at a key; none where it is no section."""
    if not named_parts(key):
        return [root]
    return [section for field in _last_fields(root, key) for section in sections_of(field.annotation)]


def family_at(root: type[Section], key: Key) -> type[Choice] | None:
    """The family at a key: of `weighting`, of `teachers.0`."""
    return next((family for field in _last_fields(root, key) if (family := family_of(field.annotation))), None)


def is_key(root: type[Section], key: Key) -> bool:
    """Whether a key names a field of some type that may be there."""
    return bool(_last_fields(root, key))


def _last_fields(root: type[Section], key: Key) -> list[FieldInfo]:
    """The fields that a whole key names; none where a part of it names none."""
    levels = list(fields_along(root, key))
    return levels[-1] if levels and len(levels) == len(named_parts(key)) else []


def fields_at(root: type[Section], key: str) -> list[FieldInfo]:
    """The fields of a dotted key: one for each type that has it.

    Raises:
        ValueError: there is none; the message names the nearest that there is, or the key's new name.
    """
    fields = _last_fields(root, key.split("."))
    if fields:
        return fields
    renamed = new_name(key.split("."))
    if renamed is not None:
        raise ValueError(f"{key} has another name now: {renamed}")
    parts = named_parts(key.split("."))
    known = len(list(fields_along(root, parts)))
    above, unknown = parts[:known], parts[known]
    sections = sections_at(root, above) or [root]
    families = {
        name: family_of(field.annotation) for section in sections for name, field in section.model_fields.items()
    }
    owner = next((name for name, family in families.items() if family and unknown in family.types()), None)
    hint = f"it is a type of {'.'.join([*above, owner])}" if owner else nearest(sections, unknown, above)
    raise ValueError(f"no configuration key is named {key!r}: {hint}")


def nearest(sections: Sequence[type[Section]], name: str, above: Sequence[str] = ()) -> str:
    """What a person may have meant by an unknown name, or what is known in these sections."""
    names = list(dict.fromkeys(known for section in sections for known in names_in(section)))
    return nearest_of(names, name, above)


def nearest_of(names: Sequence[str], name: str, above: Sequence[str] = ()) -> str:
    """The nearest of these names as a question, or all of them."""
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {'.'.join([*above, near[0]])}?" if near else f"known here: {', '.join(names)}"


def marked(root: type[Section], key: Key, mark: Mark) -> bool:
    """Whether a key, or a section that it is in, has a mark."""
    return any(mark in field.metadata for fields in fields_along(root, key) for field in fields)


def keys_marked(root: type[Section], mark: Mark, above: tuple[str, ...] = ()) -> list[str]:
    """All dotted keys with a mark of their own, in the order of the file."""
    keys = []
    for section in sections_at(root, above):
        for name, field in section.model_fields.items():
            key = (*above, field.alias or name)
            if mark in field.metadata:
                keys.append(".".join(key))
            elif typing.get_origin(field.annotation) is not dict:
                keys += keys_marked(root, mark, key)
    return list(dict.fromkeys(keys))


def validation_error(root: type[Section], key: str, value: Any) -> str | None:
    """Why a value is refused under a key, whatever is beside it; None where a type that has the key takes it."""
    refusals = [_refusal(field, value) for field in fields_at(root, key)]
    if None in refusals:
        return None
    above, _, name = key.rpartition(".")
    family = family_at(root, above.split("."))
    if family is not None and name == family.discriminator:
        return unknown_type(family, value)
    return refusals[0]


def unknown_type(family: type[Choice], value: Any) -> str:
    """That a family has no such type, and which it has."""
    return f"there is no {family.discriminator} {value!r}: {nearest_of(list(family.types()), str(value))}"


def annotated_type(field: FieldInfo) -> Any:
    """A field's type with its bounds, apart from the section that it is in."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _refusal(field: FieldInfo, value: Any) -> str | None:
    try:
        TypeAdapter(annotated_type(field)).validate_python(value)
    except ValidationError as error:
        family, first = family_of(field.annotation), error.errors()[0]
        if family is not None and first["type"] == "union_tag_invalid":
            return unknown_type(family, first["ctx"]["tag"])
        return plain_message(first["msg"])
    return None


def plain_message(message: str) -> str:
    """Pydantic's message as the second half of a line of ours."""
    message = message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]

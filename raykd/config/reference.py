"""The reference of every configuration key, from the models: for the terminal, docs/configuration.md, as a schema."""

from __future__ import annotations

import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from raykd.config.base import Section
from raykd.config.choice import Choice
from raykd.config.keys import annotated_type, family_at, family_of, field_in, fields_at, sections_at, sections_of
from raykd.config.run import RunConfig
from raykd.errors import ConfigError

WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true | false",
    Path: "path",
    type(None): "null",
    Any: "any",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "pattern": "matches"}
HEAD = """# Configuration

Every key of a configuration file, its type, default and bounds. This page is written by `make docs` from the models in
`raykd/config/`; `raykd config KEY` prints a part of it, `raykd config --json` the JSON schema.

A file may have `extends: OTHER.yaml`, and every command takes `KEY=VALUE` with dotted keys (`train.epochs=2`,
`teachers.0.replicas=2`). Where a section chooses among types, a bare name is enough (`weighting: oracle`), and another
type drops the keys that only the old one has; the same type keeps them all.
"""


@dataclass(frozen=True)
class Entry:
    """One key: its name in its section, and what may be written there."""

    name: str
    type: str
    default: str
    bounds: str
    description: str
    example: str


@dataclass(frozen=True)
class Table:
    """The keys of a section, or of one type of it.

    Attributes:
        key: the section's dotted key, empty for the top level.
        choice: `type: policy` of one type among several.
        title: the short phrase of that type.
        text: what the section is, and for a type its citation.
        same_as: the section whose keys these are too; there are no entries then.
    """

    key: str
    choice: str
    title: str
    text: str
    entries: list[Entry]
    same_as: str = ""


def reference(key: str = "") -> list[Table]:
    """The tables of a section and what is in it, or of a single key; of the whole configuration without one.

    Raises:
        ConfigError: there is no such key.
    """
    if not key:
        return _without_repetition(_tables("", RunConfig))
    plain = key.replace("[]", "")
    try:
        fields = fields_at(RunConfig, plain)
    except ValueError as error:
        raise ConfigError(key, str(error), "`raykd config` lists all keys") from None
    below = [table for field in fields for table in _below(plain, field)]
    if below:
        return _without_repetition(below)
    above, _, name = plain.rpartition(".")
    family = family_at(RunConfig, above.split("."))
    if family is not None and name == family.discriminator:
        default, names = family.default_type, " | ".join(family.types())
        return [Table(above, "", "", "", [Entry(name, names, default, "", "which of them", "")])]
    kinds: dict[Entry, list[str]] = {}
    for section in sections_at(RunConfig, above.split(".") if above else ()):
        if (field := field_in(section, name)) is not None:
            kinds.setdefault(_entry(name, field), []).append(_choice(section))
    whole = len(kinds) == 1
    return [Table(above, "" if whole else ", ".join(owners), "", "", [entry]) for entry, owners in kinds.items()]


def as_text(tables: list[Table]) -> str:
    """The tables as lines of at most 110 characters, for the terminal."""
    return "\n\n".join(_text_of(table) for table in tables) + "\n"


def as_markdown(tables: list[Table]) -> str:
    """The tables as Markdown under the page's heading: the content of docs/configuration.md."""
    return "\n".join([HEAD, *(_markdown_of(table) for table in tables)])


def schema(key: str = "") -> dict[str, Any]:
    """The JSON schema of the configuration, or of a key of it; errors as for `reference`."""
    reference(key)
    if not key:
        return RunConfig.model_json_schema()
    forms: list[dict[str, Any]] = []
    for field in fields_at(RunConfig, key.replace("[]", "")):
        form = _adapter(field).json_schema()
        if form not in forms:
            forms.append(form)
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _tables(key: str, section: type[Section]) -> Iterator[Table]:
    chosen = section.discriminator if issubclass(section, Choice) else None
    entries = [_entry(field.alias or name, field) for name, field in section.model_fields.items() if name != chosen]
    title = section.title if issubclass(section, Choice) else ""
    yield Table(key, _choice(section), title, _description(section), entries)
    for name, field in section.model_fields.items():
        yield from _below(f"{key}.{field.alias or name}".lstrip("."), field)


def _below(key: str, field: FieldInfo) -> Iterator[Table]:
    """The tables of what a field holds, if it holds sections."""
    origin = typing.get_origin(field.annotation)
    place = f"{key}[]" if origin is list else f"{key}.KEY" if origin is dict else key
    for section in sections_of(field.annotation):
        yield from _tables(place, section)


def _without_repetition(tables: list[Table] | Iterator[Table]) -> list[Table]:
    """A section that is in two places is written out in the first of them."""
    written: dict[tuple[str, tuple[Entry, ...]], str] = {}
    kept = []
    for table in tables:
        content = (table.text, tuple(table.entries))
        same_as = written.get(content)
        written.setdefault(content, table.key)
        if same_as is None or table.choice:
            kept.append(table)
        elif same_as != table.key:
            kept.append(replace(table, entries=[], same_as=same_as))
    return kept


def _description(section: type[Section]) -> str:
    text = " ".join(inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].split())
    return f"{text} {section.citation}." if issubclass(section, Choice) and section.citation else text


def _choice(section: type[Section]) -> str:
    return f"{section.discriminator}: {section.type_name()}" if issubclass(section, Choice) else ""


def _entry(name: str, field: FieldInfo) -> Entry:
    return Entry(
        name=name,
        type=_type(field.annotation),
        default="required" if field.is_required() else _default(field.default),
        bounds=_bounds(field),
        description=field.description or "the type",
        example=", ".join(_yaml(example) for example in field.examples or []),
    )


def _type(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if (family := family_of(annotation)) is not None:
        names = " | ".join(family.types())
        return f"list, each {names}" if origin is list else names
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin is typing.Literal:
        return " | ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type(part) for part in parts)
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping to {_type(parts[1])}"
    if origin is tuple:
        return f"[{', '.join(_type(part) for part in parts)}]"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return WORDS.get(annotation, str(annotation))


def _default(value: Any) -> str:
    if isinstance(value, Choice):
        return str(value.type_name())
    return "as below" if isinstance(value, Section) else _yaml(value)


def _bounds(field: FieldInfo) -> str:
    if sections_of(field.annotation):
        return ""
    plain = _adapter(field).json_schema()
    parts = [plain, *plain.get("anyOf", [])]
    return ", ".join(f"{sign} {part[key]}" for part in parts for key, sign in BOUNDS.items() if key in part)


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    return TypeAdapter(annotated_type(field))


def _yaml(value: Any) -> str:
    """A value on one line, as YAML reads it back."""
    if isinstance(value, (str, Path)):
        return str(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return json.dumps(value)


def _text_of(table: Table) -> str:
    name = f"{table.key} ({table.choice})" if table.choice else table.key
    name += f", {table.title}" if table.title else ""
    lines = textwrap.wrap(f"{name}: {table.text}" if name and table.text else name or table.text, 110)
    if table.same_as:
        lines.append(f"  The keys are those of {table.same_as}.")
    elif not table.entries:
        lines.append("  It has no keys of its own.")
    for entry in table.entries:
        bounds = f" {entry.bounds}" if entry.bounds else ""
        default = "required" if entry.default == "required" else f"default {entry.default}"
        lines.append(f"  {entry.name}: {entry.type}{bounds}; {default}")
        example = f" Example: {entry.example}" if entry.example else ""
        lines += textwrap.wrap(entry.description + ("." if example else "") + example, 104, initial_indent="      ",
                               subsequent_indent="      ")  # fmt: skip
    return "\n".join(lines)


def _markdown_of(table: Table) -> str:
    name = f"`{table.key}`" + (f" with `{table.choice}`" if table.choice else "") if table.key else "Top level"
    name += f": {table.title}" if table.title else ""
    lines = [f"## {name}", "", table.text, ""]
    if table.same_as or not table.entries:
        keys = f"The keys are those of `{table.same_as}`." if table.same_as else "It has no keys of its own."
        return "\n".join([*lines, keys, ""])
    lines += ["| key | type | default | bounds | what it is | example |", "|---|---|---|---|---|---|"]
    for entry in table.entries:
        cells = (
            f"`{entry.name}`", entry.type, entry.default if entry.default == "required" else f"`{entry.default}`",
            entry.bounds, entry.description, f"`{entry.example}`" if entry.example else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])

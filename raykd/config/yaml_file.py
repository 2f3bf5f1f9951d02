"""YAML text to plain values, strictly: no doubled keys, finite numbers, bounds on size and depth.

A mistake is one line with its line and column. The tags are those of YAML 1.2's core schema: a date stays text, and
`1e-4` is a number wherever it is written (YAML 1.1 reads it as text).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from raykd.errors import ConfigError

MAX_DEPTH = 100
"""Lists and mappings within each other, aliases followed."""
MAX_NODES = 100_000
"""Keys and values of one text, aliases followed: ten lines of aliases can stand for billions."""
MAX_DIGITS = 100
"""Letters of one integer; its value must fit in 64 bits as well."""
TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
EXPONENT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")
UNUSABLE = re.compile("[\x00\ud800-\udfff]")
"""Letters that no file name, no terminal and no UTF-8 file can hold."""


def read_yaml_file(path: Path) -> Any:
    """The value of a YAML file (UTF-8).

    Raises:
        ConfigError: as `read_yaml`, or there is no such file, or it cannot be read.
    """
    try:
        return read_yaml(path.read_bytes().decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise ConfigError(f"{path}, line {line}", f"cannot be read as YAML: {what}", "save it as UTF-8") from None
    except FileNotFoundError:
        raise ConfigError(str(path), "no such configuration file", "give the path of a YAML file") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read as YAML: {error.strerror}", "give a YAML file") from None


def read_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        where: the file or the override, for messages.

    Raises:
        ConfigError: the text is malformed, has a key twice, a number that is not finite or does not fit in 64 bits, or
            is larger or deeper than any configuration.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Bounds().check(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _located(error, where) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"character {error.position + 1} (#x{ord(text[error.position]):04x}) cannot stand in YAML"
        raise ConfigError(f"{where}, line {line}", f"cannot be read as YAML: {what}", "remove it") from None


def _located(error: yaml.MarkedYAMLError, where: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    place = where if mark is None else f"{where}, line {mark.line + 1}, column {mark.column + 1}"
    context = "" if error.context is None or error.context_mark is None else f" ({error.context})"
    mend = error.note or "quote what is text"
    return ConfigError(place, f"cannot be read as YAML: {error.problem}{context}", mend)


def _refusal(node: Node, problem: str, mend: str) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark, mend)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema's tags and a bound on the depth."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            problem = f"nests more than {MAX_DEPTH} deep"
            raise ConstructorError(None, None, problem, mark, "no configuration is that deep")
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _integer(loader: _Loader, node: ScalarNode) -> int:
    if len(node.value) <= MAX_DIGITS:
        try:
            value: int = loader.construct_yaml_int(node)
        except ValueError:
            raise _refusal(node, f"{node.value!r} is no integer", "quote what is text") from None
        if -(2**63) <= value < 2**64:
            return value
    raise _refusal(node, f"the integer {node.value:.20} … does not fit in 64 bits", "give a smaller one")


def _float(loader: _Loader, node: ScalarNode) -> float:
    try:
        value: float = loader.construct_yaml_float(node)
    except (ValueError, OverflowError):
        raise _refusal(node, f"{node.value!r:.40} is no number", "quote what is text") from None
    if not math.isfinite(value):
        raise _refusal(node, f"{node.value!r:.40} is not a finite number", "give one, or null for none")
    return value


def _boolean(loader: _Loader, node: ScalarNode) -> bool:
    if node.value.lower() not in loader.bool_values:
        raise _refusal(node, f"{node.value!r:.40} is neither true nor false", "write true or false")
    return bool(loader.construct_yaml_bool(node))


def _text(loader: _Loader, node: ScalarNode) -> str:
    value: str = loader.construct_yaml_str(node)
    if UNUSABLE.search(value):
        raise _refusal(node, "the text holds a NUL or half a surrogate pair", "leave the escape out")
    return value


_CONSTRUCTORS: dict[str | None, Callable[..., Any]] = {
    None: yaml.SafeLoader.construct_undefined,
    f"{TAG}null": yaml.SafeLoader.construct_yaml_null,
    f"{TAG}bool": _boolean,
    f"{TAG}int": _integer,
    f"{TAG}float": _float,
    f"{TAG}str": _text,
    f"{TAG}seq": yaml.SafeLoader.construct_yaml_seq,
    f"{TAG}map": yaml.SafeLoader.construct_yaml_map,
}
for _tag, _construct in _CONSTRUCTORS.items():
    _Loader.add_constructor(_tag, _construct)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{TAG}float", EXPONENT, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that this reader would take for numbers."""


_Dumper.add_implicit_resolver(f"{TAG}float", EXPONENT, list("-+.0123456789"))


def yaml_text(value: Any) -> str:
    """Plain values as YAML that `read_yaml` reads the same."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


class _Bounds:
    """Refuses doubled keys, and a text that is too large or too deep once its aliases are followed."""

    def __init__(self) -> None:
        self._measured: dict[Node, tuple[int, int]] = {}

    def check(self, node: Node, above: int = 0) -> tuple[int, int]:
        """How many nodes a node stands for, and how deep it nests; `above`: the depth at which it is used.

        Raises:
            ConstructorError: a bound is broken.
        """
        size, depth = self._measured.get(node, (1, 1))
        if node not in self._measured:
            for child in self._children(node, above):
                more, below = self.check(child, above + 1)
                size, depth = size + more, max(depth, below + 1)
            self._measured[node] = (size, depth)
        if above + depth > MAX_DEPTH:
            raise _refusal(node, f"nests more than {MAX_DEPTH} deep", "no configuration is that deep")
        if size > MAX_NODES:
            what = f"stands for more than {MAX_NODES} values, its aliases followed"
            raise _refusal(node, what, "no configuration is that large")
        return size, depth

    def _children(self, node: Node, above: int) -> list[Node]:
        if above > MAX_DEPTH:  # an alias of what it stands in: without an end
            raise _refusal(node, f"nests more than {MAX_DEPTH} deep", "an alias must not stand in what it names")
        if isinstance(node, SequenceNode):
            return list(node.value)
        if not isinstance(node, MappingNode):
            return []
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    raise _refusal(key, f"the key {key.value!r:.40} is given twice", "keep one of them")
                seen.add((key.tag, key.value))
        return [part for pair in node.value for part in pair]

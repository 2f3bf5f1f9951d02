"""Label alignment: which of a teacher's logit columns is which class of the task (docs/design.md, "The service")."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import PreTrainedConfig

from raykd.errors import ModelError

GENERIC = re.compile(r"LABEL_(\d+)", re.IGNORECASE)


def model_labels(config: PreTrainedConfig) -> list[str]:
    """The names of a model's logit columns, in order."""
    return [name for _, name in sorted((int(k), str(name)) for k, name in (config.id2label or {}).items())]


def column_order(
    model_labels: Sequence[str] | None, task_labels: Sequence[str], named: bool, override: list[str] | None, where: str
) -> tuple[list[int], str | None]:
    """The permutation p with `logits[:, p]` in the task's order, and a warning where no names vouch for it.

    Args:
        model_labels: names of the model's columns in order; None where it has none.
        task_labels: the task's classes in order; empty for a regression.
        named: False where the task's classes are LABEL_n because nobody named them.
        override: `teachers[].labels`, in place of the model's names.
        where: the teacher.

    Raises:
        ModelError: another number of columns, or names that are not the task's.
    """
    if not task_labels:
        return _regression(model_labels, override, where)
    classes = len(task_labels)
    if override is not None and model_labels is not None and len(override) != len(model_labels):
        what = f"{len(override)} names for {len(model_labels)} logit columns"
        raise ModelError(f"{where}: teachers[].labels", what, "name each column once, in the model's order")
    columns = override if override is not None else model_labels
    if columns is None:
        return list(range(classes)), _as_is(where, "has no label names", task_labels)
    if len(columns) != classes:
        raise ModelError(
            where,
            f"has {len(columns)} classes ({_some(columns)}), the task {classes} ({_some(task_labels)})",
            "choose a teacher of this task; teachers[].labels can rename its columns, not change their number",
        )
    numbers = _numbers(columns)
    if numbers is not None and (named or override is None) and (not named or _numbers(task_labels) is None):
        return [numbers.index(k) for k in range(classes)], _as_is(
            where, f"calls its classes {columns[0]}, …", task_labels
        )
    if not named and override is None:
        return list(range(classes)), _as_is(where, f"has {_some(columns)}, the task no names", columns)
    return _by_name(columns, task_labels, where), None


def _by_name(columns: Sequence[str], task_labels: Sequence[str], where: str) -> list[int]:
    keys, wanted = [_key(name) for name in columns], [_key(name) for name in task_labels]
    if len(set(wanted)) < len(wanted):  # classes that differ in case alone
        keys, wanted = list(columns), list(task_labels)
    mend = f"name the teacher's columns in teachers[].labels with the task's names: {_some(task_labels)}"
    if len(set(keys)) < len(keys):
        raise ModelError(where, f"names a class twice: {_some(columns)}", mend)
    if set(keys) != set(wanted):
        raise ModelError(where, f"its classes ({_some(columns)}) are not the task's ({_some(task_labels)})", mend)
    return [keys.index(name) for name in wanted]


def _regression(
    model_labels: Sequence[str] | None, override: list[str] | None, where: str
) -> tuple[list[int], str | None]:
    if override is not None:
        raise ModelError(f"{where}: teachers[].labels", "a regression has no classes", "leave it out")
    if model_labels is not None and len(model_labels) != 1:
        raise ModelError(where, f"has {len(model_labels)} classes, the task is a regression", "choose another teacher")
    return [0], None


def _numbers(names: Sequence[str]) -> list[int] | None:
    """The n of LABEL_n names, where all are of that kind and n runs from 0 to C − 1."""
    matches = [GENERIC.fullmatch(name.strip()) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    return numbers if sorted(numbers) == list(range(len(names))) else None


def _key(name: str) -> str:
    return name.strip().casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", … {len(names)} in all" if len(names) > 6 else "")


def _as_is(where: str, why: str, order: Sequence[str]) -> str:
    return (
        f"{where}: {why}: its logit columns are taken as {_some(order)} in this order; teachers[].labels makes it sure"
    )

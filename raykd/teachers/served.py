"""A teacher of a served ensemble is the one that is served: its fingerprint, and the order of its columns."""

from __future__ import annotations

from pathlib import Path

from raykd.config.ensemble import read_record
from raykd.errors import ConfigError
from raykd.teachers.teacher_model import TeacherModel


def check_served(teacher: TeacherModel, ensemble: str, cache: Path) -> None:
    """Refuses a teacher whose answers would be others than those of the ensemble's teacher of that name.

    Raises:
        ConfigError: the ensemble is not served from this cache, has no such teacher, or serves another one.
    """
    record = read_record(cache, ensemble)
    where = f"teacher {teacher.name} of ensemble {ensemble}"
    served = record.teacher(teacher.name)
    if served.identity == teacher.identity:
        return
    if list(teacher.labels) != record.labels:
        theirs, ours = ", ".join(record.labels) or "none", ", ".join(teacher.labels) or "none"
        raise ConfigError(where, f"answers the classes {theirs}; this task has {ours}", f"set task.labels=[{theirs}]")
    for key, asked in (("max_length", teacher.max_length), ("precision", teacher.dtype)):
        if served.entry[key] != asked:
            what = f"is served with {key} {served.entry[key]}, asked is {asked}"
            raise ConfigError(where, what, f"leave {key} out of the entry")
    what = f"is served with other weights than {teacher.folder} has now"
    raise ConfigError(where, what, f"serve it again: raykd serve down {ensemble}, raykd serve up CONFIG")

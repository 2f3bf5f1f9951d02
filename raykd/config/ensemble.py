"""A served ensemble as a configuration sees it: the record that `raykd serve up` leaves in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from raykd.config.base import Name
from raykd.errors import ConfigError, one_line
from raykd.files import write_text


class ServedTeacher(BaseModel):
    """One teacher of a served ensemble.

    Attributes:
        entry: an item of `teachers`, prepared: as a given checkpoint, with everything that decides its answers.
        identity: of its service, `TeacherModel.identity`.
        replicas: how many there are to be, or at least, where there is a largest number.
        max_replicas: as many are added while students wait; None: none are.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    entry: dict[str, Any]
    identity: str
    replicas: int
    max_replicas: int | None = None


class EnsembleRecord(BaseModel):
    """What others need to use a served ensemble, and its keeper to start it again.

    Attributes:
        labels: of the columns of its answers; empty in a regression.
        idle_timeout_s: it ends so long after its last user; None: never.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    task: str
    labels: list[str]
    lease_s: float
    idle_timeout_s: float | None
    teachers: list[ServedTeacher]

    def teacher(self, name: str) -> ServedTeacher:
        """Its teacher of this name.

        Raises:
            ConfigError: it has none.
        """
        found = next((served for served in self.teachers if served.name == name), None)
        if found is None:
            known = ", ".join(served.name for served in self.teachers)
            raise ConfigError(f"ensemble {self.name}", f"has no teacher {name}", f"it has {known}")
        return found

    def write(self, cache: Path) -> None:
        """Writes the record into its place in the cache."""
        path = record_path(cache, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.model_dump_json(indent=1))


def record_path(cache: Path, name: str) -> Path:
    """Where the record of an ensemble lies.

    Raises:
        ConfigError: the name is none of a file.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        mend = "take letters, digits, '.', '_' and '-'"
        raise ConfigError(f"ensemble {name!r:.100}", "is no name", mend) from None
    return cache / "ensembles" / f"{name}.json"


def read_record(cache: Path, name: str) -> EnsembleRecord:
    """The record of a served ensemble.

    Raises:
        ConfigError: there is none of that name in this cache, or it is damaged or of another version.
    """
    path = record_path(cache, name)
    try:
        return EnsembleRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(found.stem for found in path.parent.glob("*.json"))
        served = f"served there are {', '.join(known)}" if known else "nothing is served there"
        mend = "start it with `raykd serve up`, or set `cache` to the one that it was started with"
        raise ConfigError(f"ensemble {name}", f"is not in the cache {cache}: {served}", mend) from None
    except (ValidationError, UnicodeDecodeError) as error:
        what = f"is damaged or of another version of raykd: {one_line(error, 200)}"
        raise ConfigError(str(path), what, f"serve it again: raykd serve down {name}, raykd serve up CONFIG") from None


def with_served_teachers(teachers: list[Any], cache: Path) -> list[Any]:
    """Items of `teachers`, in which the teachers of served ensembles stand in place of `{ensemble: NAME}`.

    Items that have a model, and all others, are left as they are.

    Raises:
        ValueError: there is no such ensemble or teacher, or the item has other keys.
    """
    expanded = []
    for place, item in enumerate(teachers):
        if isinstance(item, dict) and "ensemble" in item and "model" not in item:
            expanded += _served(item, f"teachers.{place}", cache)
        else:
            expanded.append(item)
    return expanded


def _served(item: dict[str, Any], where: str, cache: Path) -> list[dict[str, Any]]:
    other = sorted(set(item) - {"ensemble", "name", "prepare"})
    if other:
        raise ValueError(f"{where}: {other[0]} comes from the ensemble {item['ensemble']}: leave it out")
    try:
        record = read_record(cache, str(item["ensemble"]))
    except ConfigError as error:
        raise ValueError(f"{where}: {error}") from None
    chosen = [teacher for teacher in record.teachers if item.get("name") in (None, teacher.name)]
    if not chosen:
        names = ", ".join(teacher.name for teacher in record.teachers)
        raise ValueError(f"{where}: no teacher of the ensemble {record.name} is named {item['name']!r}: {names}")
    return [{**teacher.entry, "name": teacher.name, "ensemble": record.name} for teacher in chosen]

"""Reads a result.json, whatever it is of; refused where it is damaged or of another schema."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from raykd.errors import RunError, one_line
from raykd.records.domains_result import DomainsResult
from raykd.records.run_result import SCHEMA_VERSION, RunResult
from raykd.records.study_result import StudyResult

AnyResult = RunResult | StudyResult | DomainsResult
KINDS: dict[str, type[StudyResult] | type[DomainsResult]] = {"study": StudyResult, "domains": DomainsResult}
"""By `kind`; all others are of a run."""
TITLES: dict[type[AnyResult], str] = {
    RunResult: "a run",
    StudyResult: "a study",
    DomainsResult: "the students of several domains",
}


def read_result(path: Path) -> AnyResult | None:
    """The content of a result.json; None where there is none.

    Raises:
        RunError: it is damaged, or was written by a version with another schema.
    """
    if not path.is_file():
        return None
    mend = "delete it and run the same command again, or give another --output"
    try:
        raw = json.loads(path.read_bytes())
        version = raw.get("schema_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunError(str(path), f"is damaged: {one_line(error, 200)}", mend) from None
    if version != SCHEMA_VERSION:
        what = f"was written by another version of raykd (schema {version}, this one has {SCHEMA_VERSION})"
        raise RunError(str(path), what, "use that version, or give another --output")
    try:
        return KINDS.get(str(raw.get("kind")), RunResult).model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(str(path), f"is damaged: {where}: {first['msg']}", mend) from None

"""What all configuration sections share: unknown keys are errors, a bare value may stand for a mapping, marks."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Mark(Enum):
    """What the program may do with a key; written beside its type: `Annotated[float, Mark.LIVE]`."""

    LIVE = "live"
    """A student can change it in mid-training, as PBT does: no shape, no row, no seed depends on it."""
    SHARED = "shared"
    """All trials of a study have it in common: with other rows or teachers their metrics would not compare."""
    PLACEMENT = "placement"
    """Where and how wide things run, and where numbers are sent: a run may resume with another value."""


class Section(BaseModel):
    """A mapping of the configuration file."""

    model_config = ConfigDict(extra="forbid", validate_default=True, populate_by_name=True, frozen=True)

    shorthand: ClassVar[str | None] = None
    """The field that a bare value stands for: `student: FOLDER` is `student: {from: FOLDER}`."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping that a bare value stands for; anything else as it is."""
        if cls.shorthand is not None and isinstance(value, (str, int, float)):
            return {cls.shorthand: value}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema, with the bare value that stands for the mapping."""
        plain = handler(schema)
        return plain if cls.shorthand is None else {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(plain)]}

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return cls.expand(value)

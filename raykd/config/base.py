"""What all configuration sections share: unknown keys are errors, numbers are finite, shorthands, marks."""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

ADDRESS = re.compile(r"(?:ray://)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):(\d{1,5})")


def _address(value: str) -> str:
    match = ADDRESS.fullmatch(value)
    if value not in ("auto", "local") and (match is None or not 0 < int(match[1]) < 2**16):
        raise ValueError(
            f"{value!r:.60} is no address of a Ray cluster: give HOST:PORT, ray://HOST:PORT, auto or local"
        )
    return value


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Of a random generator: 32 bits, since NumPy's older generators and Optuna's samplers take no more."""
Name = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
"""What files and folders are named after: 255 bytes are allowed, and suffixes and hashes follow it."""
Address = Annotated[str, AfterValidator(_address)]
"""Of a running Ray cluster, as `ray.init` takes it."""


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

    model_config = ConfigDict(
        extra="forbid", validate_default=True, populate_by_name=True, frozen=True, allow_inf_nan=False
    )

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

    @model_validator(mode="after")
    def _finite(self) -> Section:
        """Of fields that hold anything (`study.space`'s choices): no number in them is infinite or NaN."""
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, (list, dict)) and (number := _not_finite(value)) is not None:
                raise ValueError(f"{key}: {number} is not a finite number")
        return self


def _not_finite(values: list[Any] | dict[str, Any]) -> float | None:
    """The first number within lists and mappings that is infinite or NaN."""
    waiting: list[Any] = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            return value
    return None

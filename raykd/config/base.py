"""What all configuration sections share: unknown keys are errors, and a section may have a shorthand."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A mapping of the configuration file."""

    model_config = ConfigDict(extra="forbid", validate_default=True, populate_by_name=True, frozen=True)

    shorthand: ClassVar[str | None] = None
    """The field that a bare value stands for: `objective: mse` is `objective: {type: mse}`."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        if cls.shorthand is not None and isinstance(value, (str, int, float)):
            return {cls.shorthand: value}
        return value

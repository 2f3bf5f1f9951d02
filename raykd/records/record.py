"""The base of what results consist of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of a result; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

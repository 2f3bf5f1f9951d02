"""Where things run: the section `cluster`."""

from __future__ import annotations

from pydantic import Field

from raykd.config.base import Address, Section


class ClusterConfig(Section):
    """Where things run. Nothing here changes what is learnt."""

    address: Address | None = Field(None, description="of a running Ray cluster; default a local Ray of our own")
    num_cpus: int | None = Field(
        None, ge=1, description="logical CPUs of a local Ray; default at least 4 and what fits"
    )
    object_store_mb: int = Field(256, ge=80, description="object store of a local Ray")
    stall_timeout_s: float | None = Field(
        3600, gt=0, description="a pass in which no row has come for so long ends the run; null: it waits"
    )
    lease_s: float = Field(60, gt=0, description="a shared teacher service ends so long after its last user")

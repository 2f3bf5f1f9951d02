"""raykd: knowledge distillation on Ray. Teachers are actors that serve soft targets to distributed students."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raykd.serve.connection import ServedEnsemble

__version__ = "0.1.0"


def connect(name: str, address: str | None = None) -> ServedEnsemble:
    """A client of the ensemble that `raykd serve up` has started under this name: soft targets for any training loop.

    Args:
        address: of the Ray cluster; default RAY_ADDRESS, or the cluster that this process has joined already.

    Raises:
        ConfigError: no cluster is named, or no such ensemble is up there.
        RunError: the cluster or the ensemble does not answer.
    """
    from raykd.serve import connection  # torch and Ray are loaded here, and not by `import raykd`

    return connection.connect(name, address)

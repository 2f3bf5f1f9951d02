"""A process that joins a cluster, waits until a served ensemble has answered some rows, scales it and says so.

`python -m ensemble_watcher NAME ADDRESS TEACHER ROWS REPLICAS FOLDER`: FOLDER/scaled is made once so many replicas are
ready; then the service's counters of rows, by its process, are written to FOLDER/rows.json, until FOLDER/stop is there.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from raykd import runtime
from raykd.errors import RaykdError
from raykd.files import write_text
from raykd.serve import ensembles


def main() -> None:
    name, address, teacher, rows, replicas, folder = sys.argv[1:]

    def service() -> dict[str, Any]:
        found: dict[str, Any] | None = ensembles.status(name)["teachers"][teacher]["service"]
        return found or {"rows": {"forwards": 0}, "replicas": []}

    with runtime.joined(address, "the watcher"):
        while service()["rows"]["forwards"] < int(rows):
            time.sleep(0.02)
        ensembles.scale(name, {teacher: int(replicas)})
        while sum(each["state"] in ("working", "idle") for each in service()["replicas"]) < int(replicas):
            time.sleep(0.02)
        (Path(folder) / "scaled").touch()
        seen: dict[int, dict[str, Any]] = {}
        while not (Path(folder) / "stop").exists():
            with contextlib.suppress(RaykdError):  # the keeper was on the lost node and starts again
                state = service()
                seen[state["pid"]] = state["rows"]
                write_text(Path(folder) / "rows.json", json.dumps(seen))
            time.sleep(0.1)


main()

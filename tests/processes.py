"""The command line as a process of its own: started, waited for, killed with all that it has started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml
from tiny import tiny_config

Process = subprocess.Popen[str]


def write_config(folder: Path, **changes: Any) -> Path:
    """A tiny run's configuration file with these sections changed; its cache lies beside it."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tiny_config(changes, folder / "cache")), encoding="utf-8")
    return path


def start(command: str, config: Path, out: Path, *more: str) -> Process:
    words = [sys.executable, "-m", "raykd.cli", command, str(config), "--output", str(out), "--json", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def result_of(process: Process, seconds: float = 150) -> dict[str, Any]:
    """Waits for its end, which must be a good one; what it printed as JSON."""
    stdout, stderr = process.communicate(timeout=seconds)
    assert process.returncode == 0, stderr
    result: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return result


def finish(command: str, config: Path, out: Path, *more: str, seconds: float = 150) -> dict[str, Any]:
    return result_of(start(command, config, out, *more), seconds)


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 120) -> None:
    """Until the condition holds; the process must live that long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_9(process: Process) -> None:
    """Kills the driver; the Ray that it leaves behind is ended too, by the ids of its own processes."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    for child in children:
        if child.is_running() and child.name() in ("raylet", "gcs_server"):
            child.kill()

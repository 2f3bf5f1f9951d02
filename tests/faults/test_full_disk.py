"""A disk that is full, under the cache or under the run: one line, nothing is lost, and the same command goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from logs import losses
from processes import finish, start, write_config

TRAIN = {"epochs": 3, "batch_size": 32, "lr": 2e-3, "log_every": 1, "threads": 1, "checkpoint_every": 2}
ENOUGH = "size=64m,nr_inodes=10k"
LITTLE = {"cache/targets": "nr_inodes=4", "cache/teachers": "size=20k", "run": "size=200k"}
"""What file systems in memory have at first, no room for a fourth file, a checkpoint or a second one, and later."""

Mount = Callable[[Path, str], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a file system on a folder, or gives a mounted one another size."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        options = f"remount,{size}" if folder in mounted else size
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode and not mounted:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
        assert done.returncode == 0, done.stderr
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.nightly
@pytest.mark.parametrize("full", LITTLE)
def test_it_is_one_line_and_the_same_command_goes_on(tmp_path: Path, mount: Mount, full: str) -> None:
    config = write_config(tmp_path, train=TRAIN)
    mount(tmp_path / full, LITTLE[full])
    process = start("distill", config, tmp_path / "run")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("raykd: ")]
    assert "No space left on device" in line
    assert "again" in line
    mount(tmp_path / full, ENOUGH)
    finish("distill", config, tmp_path / "run")
    finish("distill", config, tmp_path / "undisturbed")
    assert losses(tmp_path / "run") == losses(tmp_path / "undisturbed")

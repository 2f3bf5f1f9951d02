"""The wheel holds all that the checkout does, and works where there is no checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
SHIPPED = (".py", ".yaml", ".typed", ".j2", ".css", ".html", ".json")
"""What of raykd/ and workloads/ a wheel must hold, by the end of its name."""
LEAST_SETUPTOOLS = 77
TINY = [
    "data.generated.rows=200", "data.generated.validation_rows=80", "data.generated.test_rows=40",
    "data.max_train_rows=50", "train.epochs=1", "train.batch_size=32",
    *(f"teachers.{k}.finetune.epochs=1" for k in range(3)), "feedback.start=4", "feedback.every=2",
    "weighting.reward.every=2", "baselines=[alone]", "cluster.object_store_mb=128",
]  # fmt: skip


def checkout() -> list[Path]:
    """The repository's files below raykd/ and workloads/ as a clone would hold them: no caches, no links."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "raykd", "workloads"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if (ROOT / path).is_file()]


def in_wheel(path: Path) -> str:
    """workloads/ is raykd.workloads there."""
    return path.as_posix() if path.parts[0] == "raykd" else f"raykd/{path.as_posix()}"


def test_every_folder_with_code_is_a_package_that_setup_finds() -> None:
    found = {name.replace(".", "/") for name in find_packages(str(ROOT), include=["raykd", "raykd.*"])}
    folders = {path.parent.as_posix() for path in (p.relative_to(ROOT) for p in (ROOT / "raykd").rglob("*.py"))}
    assert {folder for folder in folders if not folder.startswith("raykd/workloads")} <= found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: an earlier build/ beside the sources would put files into it that are gone."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in [*checkout(), *map(Path, ("pyproject.toml", "setup.py", "README.md", "LICENSE"))]:
        if (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, source / path)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "-w", str(target)]
    if int(importlib.metadata.version("setuptools").split(".")[0]) >= LEAST_SETUPTOOLS:
        command.append("--no-build-isolation")  # the setuptools that is here will do: no download
    subprocess.run(command, cwd=source, check=True, timeout=200)
    (built,) = target.glob("raykd-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_whole_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {in_wheel(path) for path in checkout() if path.name.endswith(SHIPPED)}
    assert len(wanted) > 150
    assert wanted - names == set()
    assert {name for name in names if ".dist-info/" not in name} - wanted == set()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_installed_wheel_runs_the_quickstart_and_draws_its_report(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, timeout=200)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=400,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    imported = python("-c", "import raykd, raykd.workloads as w; print(raykd.__file__); print(w.__file__)").split()
    assert [Path(path).is_relative_to(site) for path in imported] == [True, True]
    words = ["quickstart", *TINY, f"cache={tmp_path / 'cache'}", "--output", "run", "--json"]
    result = json.loads(python("-m", "raykd.cli", *words).splitlines()[-1])
    assert result["teachers"][0]["rows_computed"] == 200 + 80 + 40
    page = elsewhere / "run" / "report.html"
    drawn = page.read_text(encoding="utf-8")
    page.unlink()
    assert json.loads(python("-m", "raykd.cli", "report", "run", "--json").splitlines()[-1])["report"]
    assert page.read_text(encoding="utf-8").count("<img") == drawn.count("<img") > 3

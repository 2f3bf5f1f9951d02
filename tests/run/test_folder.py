"""A run's folder that cannot be resumed: of another version, damaged, or a study's; one line and status 2 each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from raykd import config as configuration
from raykd.config import RunConfig
from raykd.errors import ConfigError
from raykd.run.folder import RunFolder


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    path = tmp_path / "run.yaml"
    raw = {"name": "r", "data": {"source": "generated"}, "teachers": ["some-lab/encoder"], "student": "some-lab/small"}
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)


@pytest.fixture
def folder(config: RunConfig, tmp_path: Path) -> RunFolder:
    """An unfinished run's."""
    folder = RunFolder(tmp_path / "run")
    with folder.claimed(config):
        folder.write_config(config)
    return folder


def refused(folder: RunFolder, config: RunConfig) -> str:
    """The one line with which a run in this folder ends."""
    with pytest.raises(ConfigError) as raised, folder.claimed(config):
        folder.run_result()
    assert raised.value.status == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_unfinished_folder_is_resumed(folder: RunFolder, config: RunConfig) -> None:
    with folder.claimed(config):
        assert folder.run_result() is None


def test_a_folder_of_a_version_with_other_keys_is_refused(folder: RunFolder, config: RunConfig) -> None:
    path = folder.path / "config.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["train"]["accumulate"] = raw["train"].pop("gradient_accumulation")
    path.write_text(yaml.safe_dump(raw))
    line = refused(folder, config)
    assert "another version of raykd" in line
    assert "gradient_accumulation" in line
    assert "--output" in line


@pytest.mark.parametrize("content", ["train: [", "[1, 2]", ""])
def test_a_damaged_configuration_is_refused(folder: RunFolder, config: RunConfig, content: str) -> None:
    (folder.path / "config.yaml").write_text(content)
    assert "--output" in refused(folder, config)


@pytest.mark.parametrize("content", ["{", '{"name": "r", "kind": "distill", "status": "done"}'])
def test_a_damaged_or_older_result_is_refused(folder: RunFolder, config: RunConfig, content: str) -> None:
    (folder.path / "result.json").write_text(content)
    line = refused(folder, config)
    assert "result.json" in line
    assert "--output" in line

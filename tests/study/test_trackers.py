"""Trackers by configuration, each with its local backend; those whose package is missing are named."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from tiny import Configure

from raykd import api
from raykd.config import RunConfig
from raykd.errors import ConfigError
from raykd.run import trackers


def study(configure: Configure, tracker: str) -> RunConfig:
    keys = {"objective.temperature": {"grid": [1.0]}}
    settings = {"searcher": "grid", "scheduler": "none", "repeat": {"top_k": 0}, "concurrency": 1}
    return configure("train.epochs=1", f"trackers={{{tracker}}}", study={"space": keys, **settings})


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_mlflow_in_a_file(configure: Configure, tmp_path: Path) -> None:
    mlflow = importlib.import_module("mlflow")
    uri = f"sqlite:///{tmp_path / 'ml.db'}"
    api.study(study(configure, f'mlflow: "{uri}"'), tmp_path / "study")
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    result = json.loads((tmp_path / "study" / "result.json").read_text(encoding="utf-8"))
    assert run.data.metrics["value"] == result["value"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_wandb_offline(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)  # offline is the default
    api.study(study(configure, "wandb: raykd"), tmp_path / "study")
    assert list((tmp_path / "study").rglob("offline-run-*/*.wandb"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"trackers.{package}: its package is not installed"):
        api.study(study(configure, f"{package}: here"), tmp_path / "study")

"""Settings that must stand before Ray and the hub's clients are imported, and fixtures that several rooms share."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "60")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
# Ray's workers unpickle the stand-ins of the tests by their module's name.
os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Configure, tiny_config

from raykd import config as configuration
from raykd import runtime
from raykd.config import RunConfig


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One local Ray for all tests that need one."""
    with runtime.connected(configuration.parse(tiny_config({}, Path("unused")))):
        yield


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora and prepared teachers that several tests may share; soft targets too, so count rows with a cache of
    your own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def configure(shared_cache: Path) -> Configure:
    """Builds a tiny run's configuration: `configure("train.epochs=2", cache=…)`."""

    def build(*overrides: str, cache: Path | None = None, **changes: Any) -> RunConfig:
        return configuration.parse(tiny_config(changes, cache or shared_cache), list(overrides))

    return build


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

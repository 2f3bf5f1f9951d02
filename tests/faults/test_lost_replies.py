"""Requests and replies between processes that are lost on the way: no row is counted twice, the student is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logs import losses
from processes import finish, write_config
from tiny import TINY_TEACHER

CHANCES = {"requests": "req_failure_prob", "replies": "resp_failure_prob"}
"""For Ray's own fault injection, by what is lost: a lost request never reaches the actor; of a lost reply the actor has
done what was asked."""


def injected(lost: str) -> str:
    """Each process loses at most twelve calls of actors, each with a chance of 25 %."""
    return json.dumps({"CoreWorkerService.grpc_client.PushTask": {"num_failures": 12, CHANCES[lost]: 25}})


def exact_run(folder: Path) -> Path:
    """In float64, dropout 0: a batch that is computed again in another company of rows is seen in nothing."""
    folder.mkdir()
    teacher: dict[str, Any] = TINY_TEACHER | {"precision": "float64", "replicas": 2, "batch_tokens": 256}
    train = {"epochs": 2, "batch_size": 32, "lr": 2e-3, "log_every": 1, "threads": 1, "precision": "float64"}
    return write_config(folder, teachers=[teacher], train=train | {"overlap": True})


@pytest.mark.nightly
@pytest.mark.parametrize("lost", CHANCES)
def test_what_is_lost_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    calm = finish("distill", exact_run(tmp_path / "calm"), tmp_path / "calm" / "run")
    monkeypatch.setenv("RAY_testing_rpc_failure", injected(lost))
    shaken = finish("distill", exact_run(tmp_path / "shaken"), tmp_path / "shaken" / "run", seconds=200)
    assert calm["teachers"][0]["rows_computed"] == shaken["teachers"][0]["rows_computed"] == 240 + 80
    assert shaken["teachers"][0]["forwards"] == 240 + 80
    np.testing.assert_allclose(losses(tmp_path / "shaken" / "run"), losses(tmp_path / "calm" / "run"), rtol=1e-8)

"""Trials of two workers, each through a Ray Train run of its own, stopped by ASHA; what they held is given back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from processes import finish, write_config
from tiny import easy_rows


@pytest.mark.nightly
def test_a_stopped_trial_of_two_workers_gives_its_places_back(tmp_path: Path) -> None:
    """Places for one trial only: the third begins only if the second has given its own back."""
    study = {
        "space": {"train.lr": {"grid": [1e-2, 1e-9, 9e-3]}},
        "searcher": "grid", "concurrency": 1, "repeat": {"top_k": 0},
        "scheduler": {"type": "asha", "grace_period": 1, "reduction_factor": 2},
    }  # fmt: skip
    changes = {
        "data": easy_rows(tmp_path),
        "train": {"epochs": 3, "batch_size": 32, "lr": 1e-2, "workers": 2, "threads": 1, "log_every": 1},
        "cluster": {"num_cpus": 4, "object_store_mb": 128},
        "study": study,
    }
    result = finish("study", write_config(tmp_path, **changes), tmp_path / "out", seconds=200)
    table = pd.read_parquet(tmp_path / "out" / "trials.parquet").set_index("trial")
    assert table.loc["t00", "state"] == "done"
    assert table.loc["t01", "state"] == "stopped"
    assert table["evaluations"]["t02"] > 0
    assert result["trials"]["failed"] == 0
    assert result["sharing"]["rows_computed"] == 320 + 80

"""Trials of two workers, each through a Ray Train run of its own, stopped by ASHA; what they held is given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import tiny_config


@pytest.mark.slow
def test_a_stopped_trial_of_two_workers_gives_its_places_back(tmp_path: Path) -> None:
    """Places for one trial only: the third begins only if the second has given its own back."""
    rng = np.random.default_rng(0)
    for split, rows in (("train", 320), ("validation", 80)):
        labels = rng.permutation(np.arange(rows) % 2)
        texts = [" ".join(rng.choice([f"{'ab'[label]}{k}" for k in range(6)], 5)) for label in labels]
        pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / f"{split}.csv", index=False)
    study = {
        "space": {"train.lr": {"grid": [1e-2, 1e-9, 9e-3]}},
        "searcher": "grid", "concurrency": 1, "repeat": {"top_k": 0},
        "scheduler": {"type": "asha", "grace_period": 1, "reduction_factor": 2},
    }  # fmt: skip
    changes = {
        "data": {"source": str(tmp_path), "max_length": 16},
        "train": {"epochs": 3, "batch_size": 32, "lr": 1e-2, "workers": 2, "threads": 1, "log_every": 1},
        "cluster": {"num_cpus": 4, "object_store_mb": 128},
        "study": study,
    }
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(tiny_config(changes, tmp_path / "cache")), encoding="utf-8")
    words = [sys.executable, "-m", "raykd.cli", "study", str(config), "--output", str(tmp_path / "out"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), timeout=200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    table = pd.read_parquet(tmp_path / "out" / "trials.parquet").set_index("trial")
    assert table.loc["t00", "state"] == "done"
    assert table.loc["t01", "state"] == "stopped"
    assert table["evaluations"]["t02"] > 0
    assert result["trials"]["failed"] == 0
    assert result["sharing"]["rows_computed"] == 320 + 80

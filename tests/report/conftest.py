"""What real tiny runs wrote: a classification with policy and feedback, a regression, an unfinished run, a study."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import TINY_TEACHER, tiny_config

from raykd import api
from raykd import config as configuration
from raykd.records.log import MetricsLog
from raykd.records.run_result import RunResult
from raykd.report.run_files import read_run

TEACHERS = ("wordpiece", "bpe")


@pytest.fixture(scope="session")
def policy_run(ray_local: None, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers weighted by a policy, one of them under feedback, two baselines, a test split; rows from files."""
    folder = tmp_path_factory.mktemp("policy")
    reviews = folder / "private" / "reviews"
    reviews.mkdir(parents=True)
    for split, rows in (("train", 300), ("validation", 80), ("test", 60)):
        reviews_of(rows, split).to_csv(reviews / f"{split}.csv", index=False)
    finetune = {"epochs": 2, "lr": 5e-3, "batch_size": 32}
    teachers = [
        {**TINY_TEACHER, "name": name, "model": {**TINY_TEACHER["model"], "tokenizer": name}, "finetune": finetune}
        for name in TEACHERS
    ]
    changes: dict[str, Any] = {
        "name": "reviews",
        "data": {"source": str(reviews), "test": "test", "max_length": 24},
        "teachers": teachers,
        "weighting": {"type": "policy", "reward": {"every": 2}, "student_warmup": 1, "policy_warmup": 2},
        "feedback": {"type": "metadistil", "teachers": ["wordpiece"], "every": 2, "teacher_lr": 1e-3},
        "baselines": ["alone", "uniform"],
    }
    overrides = ["train.lr=5e-3", "feedback.measure_every=3"]
    api.distill(configuration.parse(tiny_config(changes, shared_cache), overrides), folder / "run")
    return folder / "run"


def reviews_of(rows: int, split: str) -> pd.DataFrame:
    """Rows that tiny models learn in part: three words in four are of the row's class."""
    rng = np.random.default_rng(len(split))
    labels = rng.permutation(np.arange(rows) % 2)
    own = rng.random((rows, 5)) < 0.75
    texts = [
        " ".join(f"{'ab'[label if mine else 1 - label]}{rng.integers(6)}" for mine in row)
        for label, row in zip(labels, own, strict=True)
    ]
    names = np.array(["negative", "positive"])[labels]
    return pd.DataFrame({"text": texts, "label": names, "domain": rng.choice(["books", "kitchen"], rows)})


@pytest.fixture(scope="session")
def regression_run(ray_local: None, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression on rows from files: the share of words that begin with b."""
    folder, rng = tmp_path_factory.mktemp("regression"), np.random.default_rng(0)
    for split, rows in (("train", 200), ("validation", 80)):
        labels = rng.integers(0, 6, rows)
        texts = [" ".join(f"{'ab'[int(k < label)]}{rng.integers(4)}" for k in range(5)) for label in labels]
        pd.DataFrame({"text": texts, "label": labels / 5}).to_csv(folder / f"{split}.csv", index=False)
    changes = {"name": "similarity", "task": "regression", "data": {"source": str(folder), "max_length": 24}}
    api.distill(configuration.parse(tiny_config(changes, shared_cache)), folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def unfinished_run(policy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classification as a killed driver leaves it: the log ends at step 12, within a line; no result."""
    folder = tmp_path_factory.mktemp("unfinished") / "reviews"
    folder.mkdir()
    for name in ("metrics.jsonl", "config.yaml"):
        shutil.copy(policy_run / name, folder / name)
    MetricsLog(folder / "metrics.jsonl").truncate(12)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"event": "step", "st')
    return folder


@pytest.fixture(scope="session")
def tiny_study(ray_local: None, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two temperatures, the better with a second seed, on the embedded corpus; tested on its validation rows."""
    folder = tmp_path_factory.mktemp("study") / "temperatures"
    study = {
        "space": {"objective.temperature": {"grid": [1.0, 4.0]}},
        "searcher": "grid",
        "scheduler": "none",
        "concurrency": 1,
        "repeat": {"top_k": 1, "seeds": 2},
    }
    raw = tiny_config({"name": "temperatures", "study": study}, shared_cache)
    api.study(configuration.parse(raw, ["train.epochs=1", "data.test=validation"]), folder)
    return folder


@pytest.fixture(scope="session")
def result(policy_run: Path) -> RunResult:
    """The classification's result, to be changed by `model_copy`."""
    whole = read_run(policy_run).result
    assert whole is not None
    return whole


@pytest.fixture
def config(policy_run: Path) -> dict[str, Any]:
    """The classification's resolved configuration."""
    return configuration.load(policy_run / "config.yaml").model_dump(mode="json", by_alias=True)


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder with some events, and a section of a configuration."""

    def write(events: str, **sections: Any) -> Path:
        (tmp_path / "metrics.jsonl").write_text(events)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(sections))
        return tmp_path

    return write

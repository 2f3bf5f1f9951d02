"""The programs that compare arms over draws: what they do to labels, and a whole one that is given twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import easy_rows, tiny_config

from raykd.config import parse
from raykd.workloads.draws import named_tables
from raykd.workloads.noisy_labels import flipped
from raykd.workloads.specialised_teachers import misled, specialists


def rows(labels: list[str], count: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"label": rng.choice(labels, count), "domain": rng.choice(["own", "other"], count)})


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"]])
def test_a_teacher_is_misled_outside_its_domains_alone(labels: list[str]) -> None:
    frame = rows(labels)
    seen = misled(frame, ["own"], 0.8, np.random.default_rng(0))
    wrong, own = seen["label"] != frame["label"], frame["domain"] == "own"
    assert not wrong[own].any()
    assert abs(wrong[~own].mean() - 0.8) < 3 * np.sqrt(0.16 / (~own).sum())
    # Each of the other classes as often as the next.
    shares = seen["label"][wrong & (frame["label"] == labels[0])].value_counts(normalize=True)
    np.testing.assert_allclose(shares, 1 / (len(labels) - 1), atol=0.06)


def test_noise_is_in_the_last_class_alone() -> None:
    frame = rows(["no", "yes"])
    seen = flipped(frame, ["no", "yes"], 0.45, np.random.default_rng(0))
    was_yes = frame["label"] == "yes"
    assert (seen["label"][~was_yes] == "no").all()
    assert abs((seen["label"][was_yes] == "no").mean() - 0.45) < 3 * np.sqrt(0.25 / was_yes.sum())


def test_who_is_right_where() -> None:
    assert specialists("a=x+y,b=z") == {"a": ["x", "y"], "b": ["z"]}


def test_tables_have_named_classes_and_are_kept_in_the_cache_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    task = {"type": "classification", "metric": "accuracy", "labels": ["no", "yes"]}
    config = parse(tiny_config({"data": easy_rows(tmp_path), "task": task}, Path("~/cache")))
    labels, tables = named_tables(config)
    assert labels == ["no", "yes"]
    # Every word of `easy_rows` tells its class by its first letter.
    train = tables["train"]
    assert (train["label"] == np.where(train["text"].str[0] == "b", "yes", "no")).all()
    assert (home / "cache/corpora").is_dir()
    assert list(here.iterdir()) == []


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raykd.workloads.label_budgets", "missing.yaml", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "label_budgets: missing.yaml: no such configuration file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_comparison_given_again_does_nothing_again(tmp_path: Path, shared_cache: Path) -> None:
    data = easy_rows(tmp_path)
    config = tiny_config({"data": {**data, "validation": "validation.csv"}}, shared_cache)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["--sizes", "60", "--draws", "2", "--rows", "120", "--lrs", "2e-3", "train.epochs=1"]
    command = [sys.executable, "-m", "raykd.workloads.label_budgets", "tiny.yaml", "out", *words]
    tables, finished = [], []
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        tables.append(json.loads((tmp_path / "out/table.json").read_text(encoding="utf-8")))
        finished.append([path.stat().st_mtime_ns for path in sorted(tmp_path.glob("out/*/result.json"))])
    assert len(finished[0]) == 2
    assert finished[0] == finished[1]
    assert tables[0] == tables[1]
    arms = {arm["name"] for arm in tables[0]["60"]["arms"]}
    assert {"student", "baseline alone", "baseline labeled", "baseline pseudo"} <= arms

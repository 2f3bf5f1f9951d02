"""The driver of several domains stopped and killed: finished domains are kept, others go on from their checkpoints."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
from logs import events
from processes import finish, kill_9, start, wait_for, write_config

DOMAINS = ["books", "electronics", "kitchen"]
EPOCHS = 12


def three_domains(folder: Path) -> Path:
    """On two cores two domains train at once and the third waits."""
    train = {"epochs": EPOCHS, "batch_size": 8, "lr": 2e-3, "log_every": 1, "threads": 1}
    generated = {"rows": 360, "validation_rows": 120, "domains": 3}
    data = {"source": "generated", "max_length": 24, "generated": generated}
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.1}
    return write_config(folder, data=data, train=train, student=student)


def steps(out: Path, domain: str) -> list[int]:
    return [event.step for event in events(out / domain, "step")]


def done(out: Path) -> list[str]:
    return [domain for domain in DOMAINS if (out / domain / "result.json").exists()]


def in_the_middle(out: Path) -> bool:
    """A domain is finished, and another well on its way."""
    return bool(done(out)) and any(40 < len(steps(out, domain)) < 120 for domain in set(DOMAINS) - set(done(out)))


def check_equal(out: Path, whole: Path) -> None:
    """Bit-equal answers of all domains, and every step once."""
    for domain in DOMAINS:
        here, there = (pd.read_parquet(folder / domain / "predictions.parquet") for folder in (out, whole))
        pd.testing.assert_frame_equal(here, there, check_exact=True)
        assert steps(out, domain) == steps(whole, domain)


@pytest.mark.nightly
def test_kill_9_in_the_middle_and_the_same_command_goes_on(tmp_path: Path) -> None:
    config, whole, parts = three_domains(tmp_path), tmp_path / "whole", tmp_path / "parts"
    undisturbed = finish("domains", config, whole, seconds=300)
    process = start("domains", config, parts)
    wait_for(lambda: in_the_middle(parts), process, seconds=200)
    kill_9(process)
    stamps = {domain: (parts / domain / "result.json").stat().st_mtime_ns for domain in done(parts)}
    refused = start("domains", config, parts, "train.lr=1e-3")
    _, stderr = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "train.lr differs" in stderr
    result = finish("domains", config, parts, seconds=300)
    assert result["domains"].keys() == undisturbed["domains"].keys()
    for mean in ("macro", "micro"):
        assert result[mean] == undisturbed[mean]
    check_equal(parts, whole)
    for domain, stamp in stamps.items():
        assert (parts / domain / "result.json").stat().st_mtime_ns == stamp
    assert [entry["rows_computed"] for entry in undisturbed["teachers"]] == [360 + 120]


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_all_running_domains(tmp_path: Path, number: signal.Signals) -> None:
    config, out = three_domains(tmp_path), tmp_path / "out"
    process = start("domains", config, out)
    wait_for(lambda: in_the_middle(out), process, seconds=200)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("raykd: ")]
    assert "of 3 domains done" in line
    assert 1 <= len(done(out)) < 3
    assert list(out.glob("*/checkpoints/step-*"))
    assert not (out / "STOP").exists()
    assert not (out / "result.json").exists()
    result = finish("domains", config, out, seconds=300)
    assert list(result["domains"]) == DOMAINS
    assert [entry["rows_computed"] for entry in result["teachers"]] == [360 + 120]  # of the first session
    for domain in DOMAINS:
        assert steps(out, domain) == list(range(1, max(steps(out, domain)) + 1))

"""The measuring programs run and say what the design asks for; how fast anything is, no test says."""

from __future__ import annotations

import json

import pytest
from raykd.workloads.bench import colocated, serving
from raykd.workloads.bench._stage import Shape

TINY = Shape(layers=1, width=16, heads=2)
FIELDS = {"bench", "ratio", "goal", "holds", "threads"}


def test_serving_measures_pairs_of_blocks() -> None:
    said = serving.warm(serving.Sizes(TINY, rows=70, rounds=3, block=2, threads=1))
    assert set(said) >= FIELDS | {"samples_per_s", "student_only_samples_per_s"}
    assert len(said["ratios_of_pairs"]) == 3
    assert said["holds"] == (said["ratio"] >= said["goal"])
    json.dumps(said)


@pytest.mark.usefixtures("ray_local")
def test_cold_serving_trains_an_epoch_on_a_sleeping_teacher() -> None:
    said = serving.cold(serving.Sizes(TINY, rows=70, rounds=1, threads=1))
    assert set(said) >= FIELDS | {"first_epoch_s", "T_s", "S_s", "t_within_10_percent"}
    assert said["first_epoch_s"] > 0
    json.dumps(said)


@pytest.mark.usefixtures("ray_local")
def test_colocated_puts_the_ratio_beside_its_limit() -> None:
    said = colocated.measure(colocated.Sizes(TINY, TINY, rows=70, epochs=2, rounds=1, threads=1))
    assert set(said) >= FIELDS | {"limit", "ratio_to_limit", "T_s", "S_s"}
    assert 0.5 < said["limit"] < 1
    json.dumps(said)


def test_an_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.main(["--warm"])
    assert "--warm" in capsys.readouterr().err

"""The measuring programs run and say what the design asks for; how fast anything is, no test says."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from raykd.student.step import DistillStep
from raykd.teachers.feedback.ensemble import TrainableEnsemble
from raykd.weighting.policy.weighting import PolicyWeighting
from raykd.workloads.bench import (
    _rounds,
    bulk,
    colocated,
    features,
    feedback,
    recovery,
    scale,
    selector,
    serving,
    study,
)
from raykd.workloads.bench._measure import Blocks
from raykd.workloads.bench._stage import Shape

TINY = Shape(layers=1, width=16, heads=2)
FIELDS = {"bench", "ratio", "goal", "holds", "threads"}


@pytest.fixture
def single_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs are made once; how many rounds a bench makes is tested in test_bench_rounds.py."""
    monkeypatch.setattr(_rounds, "FEWEST", 1)


def test_serving_measures_pairs_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "WARM_GOAL", 1e9)
    said = serving.warm(serving.Sizes(TINY, rows=70, block=2, threads=1, seconds=0))
    assert set(said) >= FIELDS | {"samples_per_s", "student_only_samples_per_s"}
    assert len(said["ratios_of_rounds"]) == said["rounds"] == 5
    assert said["ratio"] == pytest.approx(median(said["ratios_of_rounds"]), abs=1e-4)
    assert (said["goal"], said["holds"]) == (1e9, False)
    assert said["interval"] == [min(said["ratios_of_rounds"]), max(said["ratios_of_rounds"])]
    assert said["interval_holds"] is False
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local", "single_round")
def test_cold_serving_trains_an_epoch_on_a_sleeping_teacher() -> None:
    said = serving.cold(serving.Sizes(TINY, rows=70, threads=1, seconds=0))
    assert set(said) >= FIELDS | {"first_epoch_s", "T_s", "S_s", "t_within_10_percent"}
    assert said["first_epoch_s"] > 0
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local", "single_round")
def test_colocated_puts_the_ratio_beside_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colocated, "GOAL", 1e9)
    said = colocated.measure(colocated.Sizes(TINY, TINY, rows=70, epochs=2, threads=1, seconds=0))
    assert set(said) >= FIELDS | {"limit", "ratio_to_limit", "T_s", "S_s"}
    assert 0.5 < said["limit"] < 1
    assert said["ratio_to_limit"] == pytest.approx(median(said["ratios_to_limit_of_rounds"]), abs=1e-4)
    assert said["holds"] is True
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local", "single_round")
def test_features_are_measured_stored_and_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEP_GOAL", 1e9)
    monkeypatch.setattr(features, "RECOMPUTED_GOAL", 0.0)
    said = features.measure(features.Sizes(TINY, Shape(layers=2, width=16, heads=2), rows=70, threads=1, seconds=0))
    assert set(said["ratios"]) == set(said["goals"]) == set(said["holds"]) == {"step", "recomputed", "memory"}
    assert (said["holds"]["step"], said["holds"]["recomputed"]) == (True, False)
    assert set(said["seconds_a_step"]) == {"logits", "features", "recomputed", "at hand", "forward"}
    assert said["counted_mb"] > 0
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local", "single_round")
def test_selector_puts_the_policy_beside_uniform_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    class Checked(Blocks):
        def _next(self) -> tuple[int, float]:
            spent, step, loop = super()._next(), self.step, self._worker
            assert isinstance(step, DistillStep)
            if isinstance(step.weighting, PolicyWeighting):
                # The next block begins with a rewarded step, and nothing of this one is left to be learnt.
                assert step.weighting.calendar.rewarded(loop.outcome.step)
                due = step.weighting.calendar.count(loop.outcome.step - 1)
                assert step.weighting.line.weights(None).version == due
                checked.append(loop.job.folder)
            assert not loop.checkpoints.exists()
            return spent

    monkeypatch.setattr(selector, "Blocks", Checked)
    said = selector.measure(selector.Sizes(TINY, rows=70, threads=1, seconds=0))
    assert len(set(checked)) == 4
    assert set(said) >= FIELDS - {"ratio", "goal"} | {"ratios", "ratios_every_step", "limits", "intervals", "step_s"}
    # So small a student's step is far under 50 ms: nothing is to be proven with it.
    assert said["holds"] == {"r1": False, "influence": False}
    # Eight steps of three passes; one pass more, and three over the 18 rows of the reward split for batches of 32.
    assert said["limits"] == {"r1": pytest.approx(25 / 24, abs=1e-4), "influence": pytest.approx(1.112, abs=1e-3)}
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local", "single_round")
def test_study_puts_the_ratio_beside_its_limit_and_counts_rows() -> None:
    said = study.measure(study.Sizes(TINY, TINY, rows=70, trials=2, threads=1, seconds=0))
    assert set(said) >= FIELDS | {"limit", "ratio_to_limit", "between_trials_s", "once_a_study_s", "ratio_to_in_loop"}
    assert said["rows_computed"] == [70 + 64]
    assert said["rows_computed_apart"] == [2 * (70 + 64)]
    json.dumps(said)


@pytest.mark.nightly
@pytest.mark.usefixtures("ray_local")
def test_feedback_compares_rounds_that_are_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: dict[str, np.ndarray] = {}

    class Asked(Blocks):
        def close(self) -> None:
            step, ids = self.step, self._worker.job.train.ids[:32]
            assert isinstance(step, DistillStep)
            taught[Path(self._worker.job.folder).name] = step.targets.get(ids)
            if isinstance(step.targets, TrainableEnsemble):
                taught["reference"] = step.targets.reference_logits(ids)
            super().close()

    monkeypatch.setattr(feedback, "Blocks", Asked)
    monkeypatch.setattr(feedback, "TEACHER_LR", 1e-4)
    said = feedback.measure(feedback.Sizes((TINY,), TINY, rows=160, threads=1, seconds=0))
    assert set(said) >= FIELDS - {"ratio", "goal"} | {"ratios", "goals", "route", "peak_memory"}
    assert set(said["ratios"]) == set(said["goals"]) == set(said["holds"]) == {"seconds_1_layers", "memory_1_layers"}
    assert said["wire_bytes_a_round"]["1_layers"] > 32 * 2 * 4
    json.dumps(said)
    assert feedback.limit(TINY, TINY) == pytest.approx(13 / 15.5)
    learnt = np.abs(taught["double"] - taught["reference"]).max()
    assert learnt > 1e-3
    for route in feedback.ROUTES:
        assert np.abs(taught[route] - taught["double"]).max() < 0.02 * learnt


def test_an_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.main(["--warm"])
    assert "--warm" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_scale_measures_clients_and_replicas_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "FEWEST_STEPS", 1)
    said = scale.measure(scale.Sizes(rows=2000, clients=(1, 3), processes=2, replicas=(1, 2), part_s=0.5, seconds=0))
    assert set(said) >= {"bench", "ratios", "goals", "holds", "requests_per_s", "computed_rows_per_s"}
    rates, computed = said["requests_per_s"], said["computed_rows_per_s"]
    assert min(*rates.values(), *computed.values()) > 0
    assert said["ratios"]["clients"] == pytest.approx(rates[3] / max(rates.values()), abs=1e-4)
    assert said["ratios"]["replicas"] == pytest.approx(min(1.0, computed[2] / (2 * computed[1])), abs=1e-4)
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_recovery_kills_a_replica_and_a_service() -> None:
    said = recovery.measure(recovery.Sizes(rows=600, worker_rows=0, fewest=1, seconds=0))
    for kind in ("replica", "service"):
        assert said[kind]["kills"] == 1
        assert said[kind]["next_step_s"] > 0
        assert said[kind]["longest_step_s"] > 0
    json.dumps(said)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_bulk_tells_rates_and_bytes_of_each_process() -> None:
    said = bulk.measure(bulk.Sizes(rows=3000, step_rows=256))
    assert said["rows"] == said["rows_computed"] == 3000 + bulk.LABELLED
    assert set(said["bytes_per_row"]) == {"driver", "service", "client"}
    assert 16 <= said["table_bytes_per_row"] < 20  # an id and two logits
    assert min(said["rows_per_s"], said["calls_per_s"], said["pass_s"], said["client_s"]) > 0
    json.dumps(said)

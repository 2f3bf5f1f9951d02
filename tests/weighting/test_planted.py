"""The policy on teachers whose worth is known (docs/policy.md): real students, real selector."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from planted import Answers, expert, guesser, held_out_choices, noise, plant

from raykd import api
from raykd.config import RunConfig
from raykd.records.run_result import RunResult
from raykd.weighting.policy.model import load

pytestmark = pytest.mark.usefixtures("ray_local")

DOMAINS = ("books", "electronics", "kitchen")
EXPERTS = {domain: expert(domain) for domain in DOMAINS}
POLICY = "weighting.type=policy"
WIDER = ("student.hidden_size=64", "train.epochs=12")
"""Its early targets are of wrong teachers too, and it must recover: 32 wide and 6 epochs are too little for that."""


def raw(folder: Path) -> dict[str, Any]:
    return {
        "name": "planted",
        "data": {
            "source": "generated",
            "max_length": 48,
            "generated": {"rows": 2000, "validation_rows": 600, "domains": 3, "noise": 0.0},
        },
        "student": {"layers": 1, "hidden_size": 32, "heads": 2, "vocab_size": 1000},
        "objective": {"type": "kl", "temperature": 1.0, "alpha": 0.9},
        "train": {"epochs": 6, "batch_size": 16, "lr": 2e-3, "threads": 1},
        "cluster": {"num_cpus": 8, "object_store_mb": 128},
        "cache": str(folder / "cache"),
    }


def distilled(answers: dict[str, Answers], folder: Path, name: str, *overrides: str) -> tuple[RunResult, RunConfig]:
    config = plant(raw(folder), answers, folder / "teachers", list(overrides))
    return api.distill(config, folder / name), config


def value_of(result: RunResult) -> float:
    assert result.value is not None
    return result.value


@pytest.mark.slow
def test_the_policy_finds_the_teacher_that_is_right_on_a_row(tmp_path: Path) -> None:
    """On rows that neither it nor its student has seen; all three are as good as each other on the whole."""
    _, config = distilled(EXPERTS, tmp_path, "run", POLICY)
    pi, rows = held_out_choices(config, tmp_path / "run", EXPERTS)
    plan = np.array([DOMAINS.index(domain) for domain in rows.domains(np.arange(len(rows))) or []])
    assert (pi.argmax(1) == plan).mean() >= 0.9
    assert ((pi > 0.5) == (np.arange(3) == plan[:, None])).mean() >= 0.9


@pytest.mark.nightly
def test_influence_finds_the_plan_once_the_student_has_begun_to_learn(tmp_path: Path) -> None:
    """Two of three teachers are wrong on each row, so that their mean teaches a fresh student nothing to be examined
    on: half of its loss is the label's here. A small test with wrong labels is in test_influence_training.py."""
    reward = "weighting.reward={type: influence, every: 4, batch_size: 200}"
    _, config = distilled(EXPERTS, tmp_path, "run", POLICY, reward, "objective.alpha=0.5", *WIDER)
    pi, rows = held_out_choices(config, tmp_path / "run", EXPERTS)
    plan = np.array([DOMAINS.index(domain) for domain in rows.domains(np.arange(len(rows))) or []])
    assert (pi.argmax(1) == plan).mean() >= 0.75


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_its_student_beats_uniform_and_the_best_fixed_weights_over_five_seeds(tmp_path: Path) -> None:
    arms = {"policy": POLICY, "uniform": "weighting=uniform"}
    arms |= {
        domain: f"weighting={{type: fixed, weights: {[int(other == domain) for other in DOMAINS]}}}"
        for domain in DOMAINS
    }
    # The fixed ones, alike up to the domain, two seeds each: six runs in the place of fifteen.
    seeds = dict.fromkeys(arms, 2) | {"policy": 5, "uniform": 5}
    values = {
        name: [
            value_of(distilled(EXPERTS, tmp_path, f"{name}{seed}", weighting, *WIDER, f"seed={seed}")[0])
            for seed in range(seeds[name])
        ]
        for name, weighting in arms.items()
    }
    print(values)
    best_fixed = max(fmean(values[domain]) for domain in DOMAINS)
    deviation = max(float(np.std(by_seed, ddof=1)) for by_seed in values.values())
    for other, runs in ((fmean(values["uniform"]), 5), (best_fixed, 2)):
        # Further apart than three standard errors of the difference of the means.
        assert fmean(values["policy"]) > other + 3 * deviation * (1 / 5 + 1 / runs) ** 0.5


@pytest.mark.nightly
def test_exchangeable_teachers_leave_the_policy_undecided(tmp_path: Path) -> None:
    """Teachers with the same answers: no choice changes anything, and what the policy learns is noise."""
    same = {f"teacher{k}": guesser(7, right=0.8) for k in range(3)}
    for seed in range(3):
        result, _ = distilled(same, tmp_path, f"run{seed}", POLICY, f"seed={seed}")
        weighting = result.weighting
        assert weighting is not None
        assert weighting.ended is not None
        assert weighting.ended.entropy is not None
        assert weighting.entropy_uniform is not None
        assert weighting.ended.entropy > weighting.entropy_uniform / 2


@pytest.mark.nightly
def test_a_poisoned_teacher_is_dropped(tmp_path: Path) -> None:
    """Its mean weight is less than half of that of either good one, on rows that nobody has seen."""
    answers = {"good": guesser(1, right=0.9), "poisoned": noise(3), "fair": guesser(2, right=0.9)}
    for seed in range(3):
        _, config = distilled(answers, tmp_path, f"run{seed}", POLICY, "weighting.reward.every=2", f"seed={seed}")
        good, poisoned, fair = held_out_choices(config, tmp_path / f"run{seed}", answers)[0].mean(0)
        assert poisoned < min(good, fair) / 2
        assert load(tmp_path / f"run{seed}" / "policy").layout.teachers == tuple(answers)

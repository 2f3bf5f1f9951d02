"""The policy trainer: the gradient by hand, learning a planted choice, order of arrival, checkpoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rewarded_choices import FEATURES, LAYOUT, SPEC, TEACHERS, experience, worth

from raykd.errors import RunError
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.advantage import leave_one_out_gain
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.trainer import PolicyTrainer


def train(learner: PolicyTrainer, steps: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for step in range(steps):
        found = learner.weights(None)
        assert found is not None
        learner.push("run", step, 0, 1, experience(rng, found.weights))


def test_it_learns_a_planted_choice_behind_what_moves_all_rows() -> None:
    learner = PolicyTrainer(SPEC)
    train(learner, 60)
    found = learner.weights(60)
    assert found is not None
    states = np.random.default_rng(1).normal(size=(4000, TEACHERS, FEATURES)).astype(np.float32)
    chosen = (states * found.weights["weight"]).sum(-1) + found.weights["bias"] > 0
    best = np.maximum(worth(states), 0).sum(-1).mean()
    assert (chosen * worth(states)).sum(-1).mean() > best - 0.05


def test_the_first_step_follows_the_score_function_gradient() -> None:
    """∇ mean(A · log π) by central differences in float64, at the weights that acted: there the ratio is 1."""
    learner = PolicyTrainer(PolicyTrainerSpec(LAYOUT, 1e-3, 0.2, 0.0, update_every=1, passes=1))
    start = learner.weights(0)
    assert start is not None
    seen = experience(np.random.default_rng(0), start.weights)
    gain = seen.gain_B.astype(np.float64)
    advantage = np.zeros_like(gain)
    for i, one in enumerate(seen.class_B):
        others = np.delete(gain, i)[np.delete(seen.class_B, i) == one]
        advantage[i] = gain[i] - others.mean()
    advantage /= np.sqrt((advantage**2).mean())
    learner.push("run", 0, 0, 1, seen)

    def objective(weight: np.ndarray) -> float:
        logits = torch.from_numpy((seen.states_BKF.astype(np.float64) * weight).sum(-1))
        likelihood = policy.log_likelihood(logits, torch.from_numpy(seen.actions_BK).double())
        return float((likelihood.numpy() * advantage).mean())

    slope = np.zeros((TEACHERS, FEATURES))
    for k, f in np.ndindex(TEACHERS, FEATURES):
        nudge = np.zeros((TEACHERS, FEATURES))
        nudge[k, f] = 1e-5
        slope[k, f] = (objective(nudge) - objective(-nudge)) / 2e-5
    after = learner.weights(1)
    assert after is not None
    # Adam's first step is lr · sign of the gradient.
    np.testing.assert_allclose(after.weights["weight"], 1e-3 * np.sign(slope), rtol=1e-3)


def test_choices_of_old_weights_count_only_within_the_clip() -> None:
    """Rows whose likelihood has already changed by more than the clip, in the gainful direction, move nothing."""
    learner = PolicyTrainer(PolicyTrainerSpec(LAYOUT, 0.1, 0.2, 0.0, update_every=1, passes=1))
    start = learner.weights(0)
    assert start is not None
    seen = experience(np.random.default_rng(0), start.weights)
    good = leave_one_out_gain(seen).gain_B > 0
    old = seen.log_likelihood_B + np.where(good, -1.0, 1.0).astype(np.float32)
    learner.push("run", 0, 0, 1, replace(seen, log_likelihood_B=old))
    after = learner.weights(1)
    assert after is not None
    assert np.abs(after.weights["weight"]).max() == 0


def parts(seen: Experience, world: int) -> list[Experience]:
    return [Experience(**{name: value[rank::world] for name, value in vars(seen).items()}) for rank in range(world)]


def test_neither_the_number_of_workers_nor_who_comes_first_changes_what_is_learnt() -> None:
    one, four = PolicyTrainer(SPEC), PolicyTrainer(SPEC)
    rng, start = np.random.default_rng(0), one.weights(0)
    assert start is not None
    for step in range(5):
        seen = experience(rng, start.weights)
        one.push("run", step, 0, 1, seen)
        order = rng.permutation(4)
        for rank in order:
            assert four.version == step
            four.push("run", step, int(rank), 4, parts(seen, 4)[rank])
    mine, theirs = one.weights(5), four.weights(5)
    assert mine is not None
    assert theirs is not None
    for name, value in mine.weights.items():
        assert np.array_equal(value, theirs.weights[name])
    assert four.weights(6) is None
    with pytest.raises(RunError, match="version 0 of the policy is gone"):
        four.weights(0)


def test_a_step_counts_once_and_a_worker_without_rows_joins() -> None:
    learner = PolicyTrainer(SPEC)
    start = learner.weights(0)
    assert start is not None
    seen = experience(np.random.default_rng(0), start.weights)
    for _ in range(2):
        learner.push("run", 7, 0, 2, seen)
        learner.push("run", 7, 1, 2, Experience.none(TEACHERS, FEATURES))
    assert learner.version == 1
    learner.push("another", 7, 0, 1, seen)
    assert learner.version == 2


def test_a_restored_selector_goes_on_as_the_undisturbed_one() -> None:
    """With an update under way over several steps, through RLlib's own checkpoint: Adam's moments belong to it."""
    spec = PolicyTrainerSpec(LAYOUT, 0.05, 0.2, 0.01, update_every=2, passes=2)
    whole, rng = PolicyTrainer(spec), np.random.default_rng(0)
    start = whole.weights(0)
    assert start is not None
    seen = [experience(rng, start.weights) for _ in range(9)]
    packed = b""
    for step, one in enumerate(seen):
        whole.push("run", step, 0, 1, one)
        if step == 4:
            packed = whole.state("run", 4) or b""
    assert whole.state("run", 9) is None
    back = PolicyTrainer(spec)
    back.restore(packed)
    assert back.version == 2
    for step in range(3, 9):  # 3 and 4 are replayed, and were counted
        back.push("run", step, 0, 1, seen[step])
    for version in (3, 4):
        mine, theirs = whole.weights(version), back.weights(version)
        assert mine is not None
        assert theirs is not None
        assert mine.metrics == theirs.metrics
        for name, value in mine.weights.items():
            assert np.array_equal(value, theirs.weights[name])


def test_a_row_is_compared_with_the_others_of_its_class() -> None:
    nobody = Experience.none(TEACHERS, FEATURES)
    gain, classes = np.array([1, 2, 6, 10], np.float32), np.array([0, 0, 0, 1])
    fresh = leave_one_out_gain(replace(nobody, gain_B=gain, class_B=classes)).gain_B
    # The only one of its class is held against all others.
    np.testing.assert_allclose(fresh, [1 - 4, 2 - 3.5, 6 - 1.5, 10 - 3])
    alone = leave_one_out_gain(replace(nobody, gain_B=gain[:1], class_B=classes[:1])).gain_B
    assert alone.tolist() == [0.0]


def test_the_metric_that_all_rows_share_counts_against_its_moving_mean() -> None:
    """r3: centring within a step would take it away altogether."""
    learner, rng = PolicyTrainer(SPEC), np.random.default_rng(0)
    start = learner.weights(0)
    assert start is not None
    seen = experience(rng, start.weights)
    chosen = seen.actions_BK[:, 0] > 0
    for step in range(40):
        # The metric is good in the steps where teacher 0 speaks on every row.
        speaks = step % 2 == 0
        rows = chosen if speaks else ~chosen
        some = Experience(**{name: value[rows] for name, value in vars(seen).items()})
        quiet = np.zeros(rows.sum(), np.float32)
        learner.push("run", step, 0, 1, replace(some, gain_B=quiet, metric_B=quiet + speaks))
    found = learner.weights(None)
    assert found is not None
    assert found.weights["bias"][0] > 0.5
    assert np.abs(found.weights["bias"][1:]).max() < found.weights["bias"][0] / 2

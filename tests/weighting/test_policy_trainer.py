"""The RLlib side: the gradient by hand, learning a planted choice, order of arrival, checkpoints; stock PPO."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from raykd.errors import RunError
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.advantage import leave_one_out_gain
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.influence import of_choices
from raykd.weighting.policy.model import StateSpec
from raykd.weighting.policy.rllib import PolicyModuleWithValue, spaces
from raykd.weighting.policy.trainer import PolicyTrainer

TEACHERS, FEATURES = 3, 4
LAYOUT = StateSpec(("a", "b", "c"), hidden=1, classes=2, student=False)
SPEC = PolicyTrainerSpec(LAYOUT, lr=0.05, clip_ratio=0.2, entropy_bonus=0.01, update_every=1, passes=4)


def worth(states_BKF: np.ndarray) -> np.ndarray:
    """What teacher k adds on a row, less its cost, [B, K]."""
    return np.tanh(states_BKF @ np.array([1.5, -1.0, 0.5, 0.0], np.float32)) - 0.1


def experience(rng: np.random.Generator, weights: dict[str, np.ndarray], rows: int = 256) -> Experience:
    """Choices by these weights on random states. A step moves all rows of a class together, by far more than a choice
    moves its row."""
    states = rng.normal(size=(rows, TEACHERS, FEATURES)).astype(np.float32)
    logits = torch.from_numpy((states * weights["weight"]).sum(-1) + weights["bias"])
    actions = policy.act(logits, "sample", torch.from_numpy(rng.random((rows, TEACHERS))).float())
    classes = rng.integers(2, size=rows)
    gain = (actions.numpy() * worth(states)).sum(-1) + 30 * rng.normal(size=2)[classes]
    likelihood = policy.log_likelihood(logits, actions).numpy()
    gain = gain.astype(np.float32)
    return Experience(
        ids=rng.permutation(rows), states_BKF=states, actions_BK=actions.numpy().astype(np.float32),
        log_likelihood_B=likelihood.astype(np.float32), reward_B=gain, gain_B=gain,
        metric_B=np.zeros(rows, np.float32), class_B=classes,
        influence_BK=np.zeros((rows, TEACHERS), np.float32),
    )  # fmt: skip


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


def influences(rng: np.random.Generator, rows: int = 64) -> Experience:
    """r of all teachers, with a factor that changes from step to step as a student's does."""
    nobody = {"weight": np.zeros((TEACHERS, FEATURES), np.float32), "bias": np.zeros(TEACHERS, np.float32)}
    seen = experience(rng, nobody, rows)
    r_BK = rng.uniform(0.1, 3) * (worth(seen.states_BKF) + rng.normal(size=(rows, TEACHERS)))
    return replace(seen, influence_BK=(r_BK - r_BK.mean(1, keepdims=True)).astype(np.float32))


def expected_gain(logits_BK: torch.Tensor, r_BK: torch.Tensor) -> torch.Tensor:
    """Σ_k E[w_ik] r_ik by going through all choices, [B]."""
    gain_B = torch.zeros(len(r_BK), dtype=r_BK.dtype)
    for choice in product((0.0, 1.0), repeat=TEACHERS):
        actions_BK = torch.tensor(choice, dtype=r_BK.dtype).expand_as(r_BK)
        chance_B = policy.log_likelihood(logits_BK, actions_BK).exp()
        gain_B = gain_B + chance_B * (policy.blend(actions_BK, logits_BK) * r_BK).sum(-1)
    return gain_B


def by_hand(spec: PolicyTrainerSpec, steps: list[Experience]) -> dict[str, torch.Tensor]:
    """The same updates in float64: an enumeration, the rows kept in lists, Adam as in its paper."""
    made = policy.Policy(TEACHERS, FEATURES, spec.hidden_width).double()
    at = {name: value.detach().clone() for name, value in made.named_parameters()}
    first, second = ({name: torch.zeros_like(value) for name, value in at.items()} for _ in range(2))
    square, count = 0.0, 0
    for n, seen in enumerate(steps):
        mean = float((seen.influence_BK.astype(np.float64) ** 2).mean())
        square = mean if n == 0 else 0.9 * square + 0.1 * mean
        used = steps[max(0, n - spec.replay) : n + 1]
        states = torch.from_numpy(np.concatenate([some.states_BKF for some in used])).double()
        r_BK = torch.from_numpy(np.concatenate([some.influence_BK for some in used])).double() / square**0.5
        for _ in range(spec.passes):
            leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
            logits_BK = torch.func.functional_call(made, leaves, (states,))
            entropy_B = torch.distributions.Bernoulli(logits=logits_BK).entropy().sum(-1)
            loss = -(expected_gain(logits_BK, r_BK) + spec.entropy_bonus * entropy_B).mean()
            count += 1
            for name, g in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g**2
                size = (second[name] / (1 - 0.999**count)).sqrt() + 1e-8
                at[name] = at[name] - spec.lr * first[name] / (1 - 0.9**count) / size
    return at


@pytest.mark.parametrize(("replay", "width"), [(0, 0), (2, 0), (2, 5)])
def test_updates_in_expectation_and_their_replay_are_those_of_a_slow_reference(replay: int, width: int) -> None:
    spec = replace(SPEC, reward="influence", expected=True, replay=replay, hidden_width=width, passes=3)
    learner, rng = PolicyTrainer(spec), np.random.default_rng(0)
    steps = [influences(rng) for _ in range(5)]
    for step, seen in enumerate(steps):
        learner.push("run", step, 0, 1, seen)
    found = learner.weights(5)
    assert found is not None
    # Rows of a step are joined in the order of their ids, which a mean does not depend on.
    for name, value in by_hand(spec, steps).items():
        assert np.abs(found.weights[name]).max() > 0.05
        np.testing.assert_allclose(found.weights[name], value.numpy(), rtol=2e-3, atol=2e-4)


def test_replayed_rows_and_the_scale_of_r_belong_to_a_checkpoint() -> None:
    spec = replace(SPEC, reward="influence", expected=True, replay=2, hidden_width=3, update_every=2)
    whole, rng = PolicyTrainer(spec), np.random.default_rng(0)
    steps = [influences(rng) for _ in range(11)]
    packed = b""
    for step, seen in enumerate(steps):
        whole.push("run", step, 0, 1, seen)
        if step == 6:
            packed = whole.state("run", 6) or b""
    back = PolicyTrainer(spec)
    back.restore(packed)
    for step in range(5, 11):
        back.push("run", step, 0, 1, steps[step])
    mine, theirs = whole.weights(5), back.weights(5)
    assert mine is not None
    assert theirs is not None
    for name, value in mine.weights.items():
        assert np.array_equal(value, theirs.weights[name])


@pytest.mark.parametrize("expected", [True, False])
def test_influence_finds_the_worthy_teacher(expected: bool) -> None:
    """In expectation from r of all teachers; sampled from what a choice has above its expectation."""
    learner, rng = PolicyTrainer(replace(SPEC, reward="influence", expected=expected)), np.random.default_rng(0)
    for step in range(60):
        found = learner.weights(None)
        assert found is not None
        seen = influences(rng, 256)
        logits = torch.from_numpy((seen.states_BKF * found.weights["weight"]).sum(-1) + found.weights["bias"])
        actions = policy.act(logits, "sample", torch.from_numpy(rng.random(logits.shape)).float())
        _, gain = of_choices(torch.from_numpy(seen.influence_BK), actions, logits)
        likelihood = policy.log_likelihood(logits, actions).numpy()
        learner.push(
            "run", step, 0, 1,
            replace(seen, actions_BK=actions.numpy(), log_likelihood_B=likelihood, gain_B=gain.numpy()),
        )  # fmt: skip
    found = learner.weights(60)
    assert found is not None
    states = np.random.default_rng(1).normal(size=(4000, TEACHERS, FEATURES)).astype(np.float32)
    likeliest = ((states * found.weights["weight"]).sum(-1) + found.weights["bias"]).argmax(1)
    assert (likeliest == worth(states).argmax(1)).mean() > 0.8


class Bandit(gym.Env):
    """A row of the planted problem a step."""

    def __init__(self, config: Any = None) -> None:
        self.observation_space, self.action_space = spaces(TEACHERS, FEATURES)
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.states = self.rng.normal(size=(TEACHERS, FEATURES)).astype(np.float32)
        return self.states, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.states, float((action * worth(self.states)).sum()), True, False, {}


@pytest.mark.usefixtures("ray_local")
def test_stock_ppo_trains_the_same_module() -> None:
    observations, actions = spaces(TEACHERS, FEATURES)
    spec = RLModuleSpec(module_class=PolicyModuleWithValue, observation_space=observations, action_space=actions)
    config = (
        PPOConfig()
        .environment(Bandit)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .rl_module(rl_module_spec=spec)
        .training(lr=0.05, train_batch_size=512, minibatch_size=256, num_epochs=4, gamma=0.0)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    try:
        for _ in range(12):
            algorithm.train()
        module = algorithm.get_module(DEFAULT_MODULE_ID)
        assert module is not None
        states = np.random.default_rng(1).normal(size=(4000, TEACHERS, FEATURES)).astype(np.float32)
        with torch.no_grad():
            logits = module.forward_inference({Columns.OBS: torch.from_numpy(states)})[Columns.ACTION_DIST_INPUTS]
        gained = ((logits.numpy() > 0) * worth(states)).sum(-1).mean()
    finally:
        algorithm.stop()
    assert gained > np.maximum(worth(states), 0).sum(-1).mean() - 0.1

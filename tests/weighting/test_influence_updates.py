"""The policy trainer with the reward `influence`: updates and replay against a slow reference, what it finds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from rewarded_choices import FEATURES, SPEC, TEACHERS, experience, worth

from raykd.weighting.policy import model as policy
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.influence import of_choices
from raykd.weighting.policy.trainer import PolicyTrainer


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

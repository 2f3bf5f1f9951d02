"""The policy's algebra against torch's own distributions and finite counts; draws that no sharing can change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raykd.errors import ConfigError
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.model import Exported, Policy, StateSpec
from raykd.weighting.policy.schedule import UpdateSchedule

LOGITS_BK = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_likelihood_and_entropy_are_those_of_independent_bernoullis() -> None:
    actions_BK = torch.bernoulli(LOGITS_BK.sigmoid(), generator=torch.Generator().manual_seed(1))
    coins = torch.distributions.Independent(torch.distributions.Bernoulli(logits=LOGITS_BK), 1)
    torch.testing.assert_close(policy.log_likelihood(LOGITS_BK, actions_BK), coins.log_prob(actions_BK))
    torch.testing.assert_close(policy.bernoulli_entropy(LOGITS_BK), coins.entropy())
    far = torch.tensor([[200.0, -200.0]], dtype=torch.float64)
    assert policy.bernoulli_entropy(far).item() == pytest.approx(0, abs=1e-12)


def test_chosen_teachers_share_and_where_none_is_chosen_the_likeliest_speaks() -> None:
    logits_BK = torch.tensor([[0.0, 1.0, -1.0]] * 3)
    actions_BK = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    weights = policy.blend(actions_BK, logits_BK)
    np.testing.assert_allclose(weights, np.array([[0.5, 0, 0.5], [0, 1, 0], [1 / 3] * 3]), rtol=1e-6)


def test_modes() -> None:
    logits_BK = torch.tensor([[3.0, -3.0, 0.1]])
    assert policy.act(logits_BK, "greedy").tolist() == [[1, 0, 1]]
    p = logits_BK.sigmoid()
    torch.testing.assert_close(policy.proportional(logits_BK), p / p.sum())
    torch.testing.assert_close(policy.proportional(torch.tensor([[-500.0, -501.0]])).sum(), torch.tensor(1.0))
    just_below, just_above = p - 1e-4, p + 1e-4
    assert policy.act(logits_BK, "sample", just_below).tolist() == [[1, 1, 1]]
    assert policy.act(logits_BK, "sample", just_above).tolist() == [[0, 0, 0]]


def test_draws_depend_on_seed_step_row_and_teacher_and_on_nothing_else() -> None:
    ids = np.arange(4000)
    drawn = policy.uniforms(0, 5, ids, 3)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    shares = [policy.uniforms(0, 5, ids[rank::3], 3) for rank in range(3)]
    for rank, share in enumerate(shares):
        assert np.array_equal(share, drawn[rank::3])
    assert np.array_equal(policy.uniforms(0, 5, ids[::-1], 3), drawn[::-1])
    # Uniform to within five standard errors, and unrelated to what other steps, seeds and teachers draw.
    assert abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * drawn.size)
    for other in (policy.uniforms(0, 6, ids, 3), policy.uniforms(1, 5, ids, 3), drawn[:, [1, 2, 0]]):
        assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(drawn.size)
    assert len(np.unique(drawn)) == drawn.size


def test_an_export_acts_the_same(tmp_path: Path) -> None:
    layout = StateSpec(("one", "two"), hidden=5, classes=2, student=True)
    trained = Policy(2, layout.features)
    torch.nn.init.normal_(trained.weight)
    scaling = {"sentence.mean": torch.randn(5), "sentence.std": torch.rand(5)}
    policy.export(tmp_path, Exported(layout, trained, scaling, version=7))
    back = policy.load(tmp_path)
    states_BKF = torch.randn(4, 2, layout.features)
    assert torch.equal(back.policy(states_BKF), trained(states_BKF))
    assert (back.layout, back.version) == (layout, 7)
    assert torch.equal(back.scaling["sentence.std"], scaling["sentence.std"])
    (tmp_path / "policy.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="no exported policy that can be read"):
        policy.load(tmp_path)
    with pytest.raises(ConfigError, match="give the folder `policy` of a finished run"):
        policy.load(tmp_path / "elsewhere")


@pytest.mark.parametrize(("start", "every", "update_every"), [(0, 8, 1), (0, 1, 1), (3, 8, 1), (10, 4, 3), (7, 8, 2)])
def test_a_steps_version_counts_what_was_rewarded_a_period_before(start: int, every: int, update_every: int) -> None:
    calendar = UpdateSchedule(start, every, update_every)
    rewarded = [step for step in range(200) if calendar.rewarded(step)]
    assert rewarded == [step for step in range(start, 200) if (step + 1) % every == 0]
    for step in range(200):
        assert calendar.count(step) == sum(one <= step for one in rewarded)
        assert calendar.version(step) == sum(one <= step - every for one in rewarded) // update_every

"""The policy as an RLModule of RLlib: stock PPO trains it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from rewarded_choices import FEATURES, TEACHERS, worth

from raykd.weighting.policy.rllib import PolicyModuleWithValue, spaces


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

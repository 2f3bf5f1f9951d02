"""The policy as RLlib sees it: distribution, RLModule, REINFORCE Learner and its configuration (docs/ray.md, "RLlib").

Nobody steps an environment here: experience comes from students. The same module trains under RLlib's own PPO, see
`PolicyModuleWithValue`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDistribution
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from raykd.weighting.policy.model import Policy, bernoulli_entropy, expected_weights, log_likelihood

INFLUENCE = "influence"
"""Column of a batch: r [B, K], centred and scaled."""


class IndependentBernoulli(TorchDistribution):
    """One choice per teacher; RLlib has no distribution of its own for MultiBinary."""

    def _get_torch_distribution(self, logits: torch.Tensor) -> torch.distributions.Distribution:
        return torch.distributions.Bernoulli(logits=logits)

    def logp(self, value: Any, **kwargs: Any) -> torch.Tensor:
        """log π of the choices together."""
        return self._dist.log_prob(value.float()).sum(-1)

    def entropy(self, **kwargs: Any) -> torch.Tensor:
        """In nats, of the choices together."""
        return self._dist.entropy().sum(-1)

    def kl(self, other: Any, **kwargs: Any) -> torch.Tensor:
        """KL(self ‖ other) of the choices together; stock PPO asks for it."""
        value: torch.Tensor = torch.distributions.kl_divergence(self._dist, other._dist).sum(-1)
        return value

    @staticmethod
    def required_input_dim(space: gym.Space, **kwargs: Any) -> int:
        """The number of logits, one for each teacher."""
        return int(np.prod(space.shape or (1,)))

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: Any) -> IndependentBernoulli:
        """The distribution of choices with these logits [B, K]."""
        return cls(logits)


class PolicyModule(TorchRLModule):
    """`model.Policy` as an RLModule; observations [B, K, F], actions MultiBinary(K)."""

    def setup(self) -> None:
        """Widths are those of the observation space."""
        self.action_dist_cls = IndependentBernoulli  # RLlib overwrites a class attribute of that name
        assert self.observation_space is not None
        teachers, features = self.observation_space.shape or ()
        settings: Any = self.model_config or {}
        self.policy = Policy(teachers, features, settings.get("hidden_width", 0))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.policy(batch[Columns.OBS])}


class PolicyModuleWithValue(PolicyModule, ValueFunctionAPI):
    """For algorithms that want a value function (PPO): linear in the mean state."""

    def setup(self) -> None:
        """Adds the linear layer of the value function."""
        super().setup()
        assert self.observation_space is not None
        self.value = torch.nn.Linear((self.observation_space.shape or ())[1], 1)

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """The value of each row's mean state, [B]."""
        values: torch.Tensor = self.value(batch[Columns.OBS].mean(1)).squeeze(-1)
        return values


class Reinforce(TorchLearner):
    """Score-function gradient with the likelihood ratio clipped as in PPO (the choices may be of older weights), and
    an entropy bonus that keeps the policy from becoming deterministic."""

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss over the rows, a scalar."""
        logits_BK, advantage_B = fwd_out[Columns.ACTION_DIST_INPUTS], batch[Columns.ADVANTAGES]
        clip, bonus = config.learner_config_dict["clip_ratio"], config.learner_config_dict["entropy_bonus"]
        ratio_B = (log_likelihood(logits_BK, batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP]).exp()
        bounded_B = ratio_B.clamp(1 - clip, 1 + clip)
        gain_B = torch.minimum(ratio_B * advantage_B, bounded_B * advantage_B)
        return -gain_B.mean() - bonus * bernoulli_entropy(logits_BK).mean()


class InExpectation(TorchLearner):
    """Ascends Σ_k E_π[w_ik] r_ik, r known of every teacher: no choice is needed, and none is too old."""

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss over the rows, a scalar."""
        logits_BK, bonus = fwd_out[Columns.ACTION_DIST_INPUTS], config.learner_config_dict["entropy_bonus"]
        gain_B = (expected_weights(logits_BK) * batch[INFLUENCE]).sum(-1)
        return -gain_B.mean() - bonus * bernoulli_entropy(logits_BK).mean()


class PolicyTrainerConfig(AlgorithmConfig):
    """A bare AlgorithmConfig cannot build a Learner: it knows no module."""

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The module for this configuration's spaces."""
        return RLModuleSpec(
            module_class=PolicyModule,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model_config={"hidden_width": self.learner_config_dict["hidden_width"]},
        )

    def get_default_learner_class(self) -> type:
        """The learner class that raykd trains the policy with."""
        return InExpectation if self.learner_config_dict["expected"] else Reinforce


def spaces(teachers: int, features: int) -> tuple[gym.Space, gym.Space]:
    """The observation space [K, F] and the action space, one binary choice a teacher."""
    return (
        gym.spaces.Box(-np.inf, np.inf, (teachers, features), np.float32),
        gym.spaces.MultiBinary(teachers),
    )

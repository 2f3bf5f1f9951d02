"""How much a little more weight for teacher k on row i would lower the loss on held-out rows: the reward `influence`.

    r_ik = ∂/∂w_ik ⟨∂L_S/∂z_S (z_S, z_1 … z_K, w), u⟩ = −(1/η) ∂ℓ/∂w_ik        u = J_S(x)·v,  v = ∇ℓ

It is the cotangent of raykd/feedback/cotangent.py on the weights in place of the teachers' logits, exact for a plain
SGD step with v at its end; v is taken where the student stands (docs/methods.md, "RL-KD").
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from raykd.config import RewardConfig
from raykd.feedback import cotangent
from raykd.feedback.quiz import QuizLoss
from raykd.models import forward
from raykd.training import collective
from raykd.weighting.base import Stepped, Stepping
from raykd.weighting.inputs import WeightingInputs
from raykd.weighting.policy.experience import Acted, Rewarded
from raykd.weighting.policy.model import blend, expected_weights
from raykd.weighting.policy.reward import PolicyReward, reward_rows

CHUNK, GPU_CHUNK = 32, 256
"""Rows of the quiz whose graph is held at once: on a CPU as many as a batch has, more of them leave its caches."""
FINE = 1e-4
"""Step of central differences in float64: an error of about 1e-8, where a step for float32 has one of 1e-4."""


class Influence(PolicyReward):
    """r of the micro-batches of a rewarded step: v before it, u and r after each forward pass.

    A step with feedback by MetaDistil has v and u already, v at φ and on the feedback's quiz; they are used then.

    Args:
        quiz: None where every step has such feedback.
    """

    def __init__(self, quiz: QuizLoss | None) -> None:
        self.quiz = quiz
        self._v: dict[str, torch.Tensor] = {}

    @classmethod
    def from_config(cls, config: RewardConfig, inputs: WeightingInputs) -> Influence:
        """With a quiz of rows of the reward split, where there is one."""
        if inputs.reward is None:
            return cls(None)
        return cls(QuizLoss(inputs.task, reward_rows(config, inputs)))

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool) -> None:
        """v = ∇ℓ at θ_S, dropout off, summed over the workers; every worker calls it."""
        if derivative_known:
            return
        assert self.quiz is not None
        theta = _parameters(model)
        total: dict[str, torch.Tensor] = {}
        rows = CHUNK if self.quiz.sampler.worker.device.type == "cpu" else GPU_CHUNK
        for part in self.quiz.parts(model, step, 0, rows):
            some, _ = cotangent.quiz_gradient(theta, part, lambda tensors: tensors)
            total = {name: total[name] + v for name, v in some.items()} if total else some
        sums = collective.sum_tensors(list(total.values()), self.quiz.sampler.worker.world)
        self._v = dict(zip(total, sums, strict=True))

    def look_ahead(self, model: PreTrainedModel, stepping: Stepping) -> torch.Tensor:
        """r [B, K] of a micro-batch, in the logits' precision, and on their device."""
        u_BC = stepping.derivative_BC
        if u_BC is None:
            u_BC = self._derivative(_parameters(model), stepping)
        return influence(stepping, u_BC)

    def rewarded(self, micro: Stepped, acted: Acted) -> Rewarded:
        """Of all rows: their labels have no part in it."""
        assert acted.influence_BK is not None
        influence_BK = centred(acted.influence_BK, micro.batch.global_rows)
        rows = torch.ones(len(influence_BK), dtype=torch.bool)
        reward_B, gain_B = of_choices(influence_BK, acted.actions_BK, acted.logits_BK)
        return Rewarded(reward_B, gain_B, torch.zeros(len(rows)), influence_BK, rows)

    def _derivative(self, theta: dict[str, torch.Tensor], stepping: Stepping) -> torch.Tensor:
        """u by differences; the step's own pass is one of the two where it was on a CPU in full precision.

        Of float64 models too: a jvp needs another attention kernel, which draws other dropout masks.
        """
        logits_BC, micro = stepping.logits_BC, _as_micro(stepping)
        if next(iter(theta.values())).dtype == torch.float64:
            (u_BC,) = cotangent.central_differences(theta, self._v, micro, FINE)
            return u_BC
        route, _ = cotangent.choose_route("auto", torch.float32, logits_BC.device)
        if route == "one_sided" and stepping.cast in forward.AUTOCAST:
            (logits_BC,) = cotangent.outputs_at(theta, micro)
        (u_BC,) = cotangent.derivative(route, theta, self._v, micro, (logits_BC,))
        return u_BC


def influence(stepping: Stepping, derivative_BC: torch.Tensor) -> torch.Tensor:
    """r [B, K] from u [B, C], by autograd through the soft loss; zeros where that does not depend on the weights."""
    logits_BC = stepping.logits_BC.to(derivative_BC.dtype)
    (cotangent_BK,) = cotangent.cotangents(_as_micro(stepping), (logits_BC,), (derivative_BC,))
    return -cotangent_BK


def centred(influence_BK: torch.Tensor, global_rows: int) -> torch.Tensor:
    """r less its mean over the teachers, [B, K], on the CPU: their weights sum to 1.

    Times the rows of the batch, which r is divided by: rows of a smaller batch would count more.
    """
    r_BK = influence_BK.cpu() * global_rows
    return r_BK - r_BK.mean(-1, keepdim=True)


def of_choices(
    influence_BK: torch.Tensor, actions_BK: torch.Tensor, logits_BK: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ_k w_ik(a) r_ik of the choices a, and what of it exceeds its expectation under the policy they are of, [B]."""
    reward_B = (blend(actions_BK, logits_BK) * influence_BK).sum(-1)
    return reward_B, reward_B - (expected_weights(logits_BK) * influence_BK).sum(-1)


def _as_micro(stepping: Stepping) -> cotangent.Micro:
    """With the weights in the place of what the teachers have served."""
    return cotangent.Micro(
        forward=lambda parameters: (stepping.at(parameters),),
        loss=lambda outputs, served: stepping.share(outputs[0], served[0]),
        served=(stepping.weights_BK,),
    )


def _parameters(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}

"""The policy of RL-KD in plain torch: π(a_ik = 1 | s_ik) = sigmoid(A_k · s_ik + b_k), teachers chosen independently.

Yuan et al., "Reinforced Multi-Teacher Selection for Knowledge Distillation" (AAAI 2021), section 3.2; weights per
teacher. What a student acts with, what RLlib trains (see `rllib`) and what an export loads are this.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from raykd.errors import ConfigError, one_line

WEIGHTS, DESCRIPTION = "policy.safetensors", "policy.json"
Mode = Literal["sample", "prob", "greedy"]


@dataclass(frozen=True)
class StateSpec:
    """What a state is made of, and for which teachers.

    Attributes:
        hidden: width of the sentence vector.
        classes: 1 in a regression, where the prediction stands for the probabilities.
        student: whether the student's entropy and its distance from the teacher are in it.
        labeled: whether the teacher's loss against the label is in it; else the entropy of its answer, so that a state
            does not tell rows with a label from rows without.
    """

    teachers: tuple[str, ...]
    hidden: int
    classes: int
    student: bool
    labeled: bool = True

    @property
    def described(self) -> str:
        """In words, for a message."""
        seen = "their losses" if self.labeled else "their entropies"
        return f"teachers {', '.join(self.teachers)}, {self.features} features, {seen} among them"

    @property
    def features(self) -> int:
        """Entries of one teacher's state, F."""
        return self.hidden + self.classes + 1 + (2 if self.student else 0)


class Policy(nn.Module):
    """Logits of the choices; it starts undecided, at π = 1/2 everywhere.

    Args:
        width: units D of a hidden layer for each teacher, tanh(W_k s_ik + c_k) in place of s_ik; 0: none. Its initial
            weights follow from the shapes alone, so that workers and trainer begin with the same.
    """

    def __init__(self, teachers: int, features: int, width: int = 0) -> None:
        super().__init__()
        self.width = width
        if width:
            generator = torch.Generator().manual_seed(0)
            self.hidden_weight = nn.Parameter(torch.randn(teachers, width, features, generator=generator))
            self.hidden_bias = nn.Parameter(torch.zeros(teachers, width))
        self.weight = nn.Parameter(torch.zeros(teachers, width or features))
        self.bias = nn.Parameter(torch.zeros(teachers))

    def forward(self, states_BKF: torch.Tensor) -> torch.Tensor:
        """log π/(1 − π), [B, K]."""
        inputs_BKD = states_BKF
        if self.width:
            inputs_BKD = (torch.einsum("bkf,kdf->bkd", states_BKF, self.hidden_weight) + self.hidden_bias).tanh()
        return (inputs_BKD * self.weight).sum(-1) + self.bias


def act(logits_BK: torch.Tensor, mode: Mode, uniforms_BK: torch.Tensor | None = None) -> torch.Tensor:
    """Choices [B, K] of 0 and 1; `sample` draws them by the given uniform numbers, the other modes take π > 1/2."""
    if mode == "sample":
        assert uniforms_BK is not None
        return (uniforms_BK < logits_BK.sigmoid()).to(logits_BK.dtype)
    return (logits_BK > 0).to(logits_BK.dtype)


def blend(actions_BK: torch.Tensor, logits_BK: torch.Tensor) -> torch.Tensor:
    """w_ik = a_ik / Σ_k a_ik; where no teacher is chosen, the one with the largest π has all."""
    teachers = actions_BK.shape[1]
    fallback = F.one_hot(logits_BK.argmax(-1), teachers).to(actions_BK.dtype)
    spoken = torch.where(actions_BK.sum(-1, keepdim=True) > 0, actions_BK, fallback)
    return spoken / spoken.sum(-1, keepdim=True)


def expected_weights(logits_BK: torch.Tensor) -> torch.Tensor:
    """E_π[w_ik] of `blend` over the choices, [B, K], differentiable; exact for any K.

    E[a_k / Σ_j a_j] = π_k E[1 / (1 + S)] with S the number of the others that are chosen, and 1/(1 + S) is the
    integral of t^S over [0, 1], so that the expectation is the integral of Π_{j≠k} (1 − π_j + π_j t). That is a
    polynomial of degree K − 1, for which Gauss and Legendre's rule with K/2 nodes has no error. Where none is chosen,
    with probability Π_j (1 − π_j), the teacher with the largest π has all.
    """
    teachers = logits_BK.shape[1]
    pi_BK = logits_BK.sigmoid()
    nodes, shares = np.polynomial.legendre.leggauss((teachers + 1) // 2)
    expected_BK = torch.zeros_like(pi_BK)
    itself = torch.eye(teachers, dtype=torch.bool, device=pi_BK.device)
    for t, share in zip((nodes + 1) / 2, shares / 2, strict=True):
        others_BKK = (1 - pi_BK * (1 - t)).unsqueeze(1).expand(-1, teachers, -1).masked_fill(itself, 1.0)
        expected_BK = expected_BK + share * others_BKK.prod(-1)
    none_B1 = F.logsigmoid(-logits_BK).sum(-1, keepdim=True).exp()
    return pi_BK * expected_BK + none_B1 * F.one_hot(logits_BK.argmax(-1), teachers)


def proportional(logits_BK: torch.Tensor) -> torch.Tensor:
    """w_ik = π_ik / Σ_k π_ik, by log-sum-exp so that teachers that are all unlikely still share 1."""
    return F.softmax(F.logsigmoid(logits_BK), dim=-1)


def log_likelihood(logits_BK: torch.Tensor, actions_BK: torch.Tensor) -> torch.Tensor:
    """log π of each row's choices together, [B]."""
    return -F.binary_cross_entropy_with_logits(logits_BK, actions_BK, reduction="none").sum(-1)


def bernoulli_entropy(logits_BK: torch.Tensor) -> torch.Tensor:
    """Entropy of each row's choices together, [B], in nats; K · log 2 where the policy is undecided."""
    return (F.softplus(logits_BK) - logits_BK * logits_BK.sigmoid()).sum(-1)


def uniforms(seed: int, step: int, ids: np.ndarray, teachers: int) -> np.ndarray:
    """Numbers in [0, 1) that depend on (seed, step, id, teacher) alone, [B, K]: however a batch is shared out.

    A row is seen once an epoch, so the step stands for the epoch. Mixed by splitmix64 (Steele, Lea, Flood 2014).
    """
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.uint64(seed)) + np.uint64(step))
        rows_B = _mix(key + ids.astype(np.uint64))
        cells_BK = _mix(rows_B[:, None] + np.arange(1, teachers + 1, dtype=np.uint64))
    return (cells_BK >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray | np.uint64) -> np.ndarray:
    """One step of splitmix64 on each number."""
    z = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Exported:
    """A policy with what is needed to act without Ray and without the run that trained it.

    Attributes:
        scaling: the standardisation of the states, see `state`.
    """

    layout: StateSpec
    policy: Policy
    scaling: dict[str, torch.Tensor]
    version: int


def export(folder: Path, exported: Exported) -> None:
    """Writes the weights and the scaling as safetensors, version and layout as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"policy.{name}": tensor for name, tensor in exported.policy.state_dict().items()}
    tensors |= {f"scaling.{name}": tensor for name, tensor in exported.scaling.items()}
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, folder / WEIGHTS)
    description = {
        "version": exported.version,
        "layout": asdict(exported.layout),
        "hidden_width": exported.policy.width,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def load_for(layout: StateSpec, width: int, folder: Path) -> Exported:
    """As `load`, of a policy for these teachers and states, with a hidden layer of this width.

    Raises:
        ConfigError: there is none, it is damaged, or it was trained for others, or has another form.
    """
    exported = load(folder)
    if exported.policy.width != width:
        what = f"this policy has a hidden_width of {exported.policy.width}; this run has {width}"
        raise ConfigError(str(folder), what, f"set weighting.hidden_width={exported.policy.width}")
    if exported.layout != layout:
        theirs, mine = exported.layout.described, layout.described
        raise ConfigError(str(folder), f"this policy was trained for {theirs}; this run has {mine}")
    return exported


def load(folder: Path) -> Exported:
    """Back from `export`.

    Raises:
        ConfigError: the folder holds no exported policy, or a damaged one.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        fields = description["layout"]
        layout = StateSpec(
            tuple(fields["teachers"]),
            fields["hidden"],
            fields["classes"],
            fields["student"],
            fields.get("labeled", True),
        )
        tensors = load_file(folder / WEIGHTS)
        policy = Policy(len(layout.teachers), layout.features, int(description.get("hidden_width", 0)))
        policy.load_state_dict({name: tensors[f"policy.{name}"] for name in policy.state_dict()})
        version = int(description["version"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        what = f"holds no exported policy that can be read ({one_line(error, 120)})"
        raise ConfigError(str(folder), what, "give the folder `policy` of a finished run") from None
    scaling = {name.removeprefix("scaling."): value for name, value in tensors.items() if name.startswith("scaling.")}
    return Exported(layout, policy, scaling, version)

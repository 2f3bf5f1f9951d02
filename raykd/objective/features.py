"""Losses on inner outputs, of each row: Σ_pairs mean (W h_S − h_T)², mean (a_S − a_T)², ‖ĥ_S − ĥ_T‖², KL of relations.

Padding is no part of any, and a row's loss does not depend on how far its batch is padded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from raykd.columns import Column
from raykd.config import FeaturesConfig
from raykd.objective.feature_plan import RELATIONS, FeaturePlan
from raykd.objective.layer_map import Pairs

Captured = Mapping[Column, torch.Tensor]


class FeatureLosses(nn.Module):
    """The terms of a plan, with the projections of the student's side where the models' widths differ.

    One projection serves hidden states and embeddings (W_fit of Pan et al. 2021; so does TinyBERT's code, its paper
    has two), another the first tokens of pkd. They are trained beside the student and are no part of it.

    Args:
        seed: of the projections' first values; the global random state is left as it was.
    """

    def __init__(self, plan: FeaturePlan, settings: FeaturesConfig, dtype: torch.dtype, seed: int) -> None:
        super().__init__()
        self.plan, self.settings = plan, settings
        self.projections = nn.ModuleDict()
        if plan.widths_differ:
            for name, terms in (("tokens", ("hidden", "embedding")), ("first", ("pkd",))):
                if any(term in plan.pairs for term in terms):
                    self.projections[name] = linear(plan.student.width, plan.teacher.width, dtype, seed, name)

    def per_example(self, student: Captured, teacher: Captured, mask_BL: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each term's loss of each row, [B], not yet weighed by β.

        Args:
            student, teacher: the columns of the plan, [B, …], padded as the mask has it, with finite numbers there.
            mask_BL: 1 on tokens.
        """
        mask = _Mask(mask_BL, next(iter(student.values())).dtype)
        losses: dict[str, torch.Tensor] = {}
        for name, pairs in self.plan.pairs.items():
            match name:
                case "hidden" | "embedding":
                    losses[name] = self._hidden(pairs, student, teacher, mask)
                case "attention":
                    losses[name] = self._attention(pairs, student, teacher, mask)
                case "pkd":
                    losses[name] = self._first(pairs, student, teacher)
                case "minilm":
                    losses[name] = self._relations(pairs, student, teacher, mask)
        return losses

    def total(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Σ_f β_f feature_f of each row, [B]."""
        terms = self.settings.terms
        return torch.stack([terms[name].weight * loss_B for name, loss_B in losses.items()]).sum(0)

    def _hidden(self, pairs: Pairs, student: Captured, teacher: Captured, mask: _Mask) -> torch.Tensor:
        """Σ over pairs of the mean over tokens and width of (W h_S − h_T)² (Jiao et al. 2020, eq. 8 and 9)."""
        losses = []
        for own, theirs in pairs:
            projected_BLH = self._projected("tokens", student[Column("hidden", own)])
            squares_BL = (projected_BLH - teacher[Column("hidden", theirs)]).square().mean(-1)
            losses.append((mask.cleared(squares_BL) * mask.share_BL).sum(-1))
        return torch.stack(losses).sum(0)

    def _attention(self, pairs: Pairs, student: Captured, teacher: Captured, mask: _Mask) -> torch.Tensor:
        """Σ over pairs of the mean over heads and pairs of tokens of (a_S − a_T)² (Jiao et al. 2020, eq. 7)."""
        losses = []
        for own, theirs in pairs:
            mean_heads = self.plan.mean_heads
            gap = student[Column("scores", own, mean_heads)] - teacher[Column("scores", theirs, mean_heads)]
            squares_BLL = gap.square().mean(1)
            by_query_BL = (mask.cleared(squares_BLL) * mask.share_BL.unsqueeze(1)).sum(-1)
            losses.append((mask.cleared(by_query_BL) * mask.share_BL).sum(-1))
        return torch.stack(losses).sum(0)

    def _first(self, pairs: Pairs, student: Captured, teacher: Captured) -> torch.Tensor:
        """Σ over pairs of ‖ĥ_S − ĥ_T‖² of the first token's states, each of length 1 (Sun et al. 2019, eq. 7)."""
        losses = []
        for own, theirs in pairs:
            projected_BH = self._projected("first", student[Column("first", own)])
            gap_BH = F.normalize(projected_BH, dim=-1) - F.normalize(teacher[Column("first", theirs)], dim=-1)
            losses.append(gap_BH.square().sum(-1))
        return torch.stack(losses).sum(0)

    def _relations(self, pairs: Pairs, student: Captured, teacher: Captured, mask: _Mask) -> torch.Tensor:
        """Σ over pairs and query, key, value of KL(R_T ‖ R_S), R = softmax(A Aᵀ / √d) by relation head and token, its
        mean over both (Wang et al., "MiniLMv2", 2021, section 3.1)."""
        losses = []
        for own, theirs in pairs:
            for kind in RELATIONS:
                log_student = self._log_relation(student[Column(kind, own)], mask)
                log_teacher = self._log_relation(teacher[Column(kind, theirs)], mask)
                divergence_BRL = (log_teacher.exp() * (log_teacher - log_student)).sum(-1)
                losses.append((mask.cleared(divergence_BRL.mean(1)) * mask.share_BL).sum(-1))
        return torch.stack(losses).sum(0)

    def _log_relation(self, vectors_BLH: torch.Tensor, mask: _Mask) -> torch.Tensor:
        """log softmax of A Aᵀ / √d over the tokens, [B, R, L, L]; a padded token has a finite, negligible share."""
        heads = self.plan.relation_heads
        split_BRLD = mask.cleared_tokens(vectors_BLH).unflatten(-1, (heads, -1)).transpose(1, 2)
        products = split_BRLD @ split_BRLD.transpose(-1, -2) / split_BRLD.shape[-1] ** 0.5
        if mask.padded_BL is not None:
            products = products.masked_fill(mask.padded_BL[:, None, None, :], torch.finfo(products.dtype).min / 2)
        return F.log_softmax(products, dim=-1)

    def _projected(self, name: str, states: torch.Tensor) -> torch.Tensor:
        if name not in self.projections:
            return states
        projected: torch.Tensor = self.projections[name](states)
        return projected


class _Mask:
    """The tokens of a batch: where padding is (None without any), and 1 / tokens on each token of a row."""

    def __init__(self, mask_BL: torch.Tensor, dtype: torch.dtype) -> None:
        tokens_BL = mask_BL.bool()
        self.padded_BL = None if bool(tokens_BL.all()) else ~tokens_BL
        self.share_BL = tokens_BL.to(dtype) / tokens_BL.sum(-1, keepdim=True)

    def cleared(self, values: torch.Tensor) -> torch.Tensor:
        """0 on padding, of values [B, L] or [B, L, L] by their last axis."""
        if self.padded_BL is None:
            return values
        padded = self.padded_BL if values.ndim == 2 else self.padded_BL.unsqueeze(1)
        return values.masked_fill(padded, 0.0)

    def cleared_tokens(self, vectors_BLH: torch.Tensor) -> torch.Tensor:
        """0 on padding, of a vector for each token."""
        return vectors_BLH if self.padded_BL is None else vectors_BLH.masked_fill(self.padded_BL.unsqueeze(-1), 0.0)


def linear(inputs: int, outputs: int, dtype: torch.dtype, seed: int, name: str) -> nn.Linear:
    """A linear map without bias whose first values depend on seed and name alone: normal, of variance 1 / inputs."""
    # 32 bits: of a longer seed the generator on the CPU takes the lower ones alone.
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.normal_(0.0, inputs**-0.5, generator=generator)
    return layer

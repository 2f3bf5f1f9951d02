"""What the gradients of a teacher's losses say of a round: the norm of each, and cosines that tell signal from noise.

docs/methods.md, section "The teacher's step".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

CHUNK = 1 << 20


def flat_gradient(
    logits_BC: torch.Tensor, parameters: Sequence[torch.Tensor], cotangent_BC: torch.Tensor
) -> torch.Tensor:
    """Jᵀ cotangent over all parameters, [P] on the CPU; the graph of the logits is kept."""
    gradients = torch.autograd.grad(logits_BC, parameters, cotangent_BC, retain_graph=True, allow_unused=True)
    parts = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1).cpu() for g, p in parts])


def gradient_metrics(flats: dict[str, torch.Tensor], previous: torch.Tensor | None) -> dict[str, float]:
    """Norms of the terms' gradients; cosines of the feedback's with an independent quiz's, and with the last one's.

    The first cosine is the share of signal in the feedback: two quiz batches that agree on nothing give 0.

    Args:
        flats: [P] by term, summed over ranks; `feedback` and `second` are among them.
        previous: the feedback's of the last measured round.
    """
    metrics = {
        f"norm_{name}": float(torch.linalg.vector_norm(flat, dtype=torch.float64))
        for name, flat in flats.items()
        if name != "second"
    }
    if bool(flats["second"].any()):
        metrics["cosine_quiz"] = cosine(flats["feedback"], flats["second"])
    if previous is not None and bool(flats["feedback"].any() and previous.any()):
        metrics["cosine_last"] = cosine(flats["feedback"], previous)
    return metrics


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    """In float64 and by parts: the float32 sums of as many terms as a teacher has parameters gave 1.005."""
    parts = zip(first.split(CHUNK), second.split(CHUNK), strict=True)
    sums = torch.stack(
        [torch.stack([a @ b, a @ a, b @ b]) for a, b in ((x.double(), y.double()) for x, y in parts)]
    ).sum(0)
    return float(sums[0] / (sums[1] * sums[2]).sqrt())

"""IKD where word embeddings learn and most of a vocabulary is not in the batch: u by differences against a jvp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Configure
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from raykd import api, models
from raykd.feedback import cotangent
from raykd.feedback.cotangent import Micro, Outputs, Params, Route

pytestmark = pytest.mark.usefixtures("ray_local")

WORDS, ROWS = 1500, 600
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


def rare_words(folder: Path) -> dict[str, Any]:
    """Rows of invented words, frequent ones and rare ones (Zipf); half of the words speak for each class."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(SYLLABLES, 3)) for _ in range(WORDS)])
    share = 1 / (10 + np.arange(WORDS))
    for split, rows in (("train", ROWS), ("validation", 100)):
        chosen = [rng.choice(WORDS, rng.integers(5, 20), p=share / share.sum()) for _ in range(rows)]
        lines = [f"{' '.join(words[row])},{int((row % 2).mean() > 0.5)}" for row in chosen]
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return {"source": str(folder), "max_length": 24}


def exact(theta: Params, direction: Params, micro: Micro) -> Tensor:
    """u by a jvp in float64."""
    primals = {name: tensor.detach().double() for name, tensor in theta.items()}
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        u: Tensor = torch.func.jvp(micro.forward, (primals,), (direction,))[1][0]
    assert u.dtype == torch.float64
    return u


@pytest.mark.slow
def test_u_is_exact_where_most_embeddings_have_met_no_batch(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds at steps 8 and 16. The reference takes v/(√v̂ + ε) in every entry, those of 1e8 too: no logit of the
    batch depends on them."""
    unmasked: dict[int, dict[str, Tensor]] = {}
    errors: dict[Route, list[float]] = {"forward": [], "central": [], "one_sided": []}
    largest: list[float] = []
    precondition, derivative = cotangent.adam_preconditioned, cotangent.derivative

    def preconditioned(v: Params, moments: Params, eps: float, reached: Params) -> dict[str, Tensor]:
        direction = precondition(v, moments, eps, reached)
        unmasked[id(direction)] = {name: v[name].double() / (moments[name].double().sqrt() + eps) for name in v}
        largest.append(max(float(tensor.abs().max()) for tensor in unmasked[id(direction)].values()))
        return direction

    def compared(route: Route, theta: Params, v: Params, micro: Micro, outputs: Outputs) -> Outputs:
        u = exact(theta, unmasked[id(v)], micro)
        for each, of_route in errors.items():
            got = derivative(each, theta, v, micro, outputs)[0]
            of_route.append(float((got - u).norm() / u.norm()))
        return derivative(route, theta, v, micro, outputs)

    monkeypatch.setattr(cotangent, "adam_preconditioned", preconditioned)
    monkeypatch.setattr(cotangent, "derivative", compared)
    config = configure(
        "feedback={type: ikd, start: 7, every: 8}", "train.max_steps=16", "train.batch_size=16", "train.lr=4e-4",
        "train.gradient_accumulation=2", data=rare_words(tmp_path),
        student={"layers": 2, "hidden_size": 32, "heads": 2, "vocab_size": 2000, "dropout": 0.0},
    )  # fmt: skip
    api.distill(config, tmp_path / "run")
    assert len(models.load(tmp_path / "run" / "start", torch.float32)[1]) >= 1000
    assert min(largest) > 1e5  # the trap is there: Adam's directions are about 1 elsewhere
    # Two micro-batches along two quizzes in the first round, which is measured, and along one in the second.
    assert all(len(of_route) == 6 for of_route in errors.values())
    assert max(errors["forward"]) < 1e-6
    assert max(errors["central"]) < 0.01
    assert max(errors["one_sided"]) < 0.01

"""One feedback round on tiny models: the teacher's gradient by cotangents, and by double backward to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import BertConfig, BertForSequenceClassification

from raykd.feedback.cotangent import (
    Micro,
    Outputs,
    Params,
    Route,
    central_differences,
    cotangents,
    derivative,
    one_sided_differences,
    pilot,
    quiz_gradient,
)
from raykd.objective import Objective

LR, ALPHA, BETA, ROWS, QUIZ_ROWS, WIDTH = 0.1, 0.6, 0.3, 13, 8, 16
# A float64 difference may be finer than the default, which is chosen for float32.
DERIVATIVE: dict[Route, Callable[[Params, Params, Micro, Outputs], Outputs]] = {
    "forward": partial(derivative, "forward"),
    "central": lambda theta, v, micro, _: central_differences(theta, v, micro, step=1e-3),
    "one_sided": partial(one_sided_differences, step=1e-6),
}


def bert(
    classes: int, seed: int, layers: int = 1, dropout: float = 0.0, dtype: torch.dtype = torch.float64
) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.15,  # at 0.02 the feedback would be lost in the rounding of the differences
    )
    config.num_labels = classes
    model = BertForSequenceClassification(config)
    return model.double() if dtype == torch.float64 else model


def tokens(rows: int) -> dict[str, Tensor]:
    """A padded batch: sdpa gets a real mask."""
    lengths = torch.randint(3, 10, (rows, 1))
    mask_BL = (torch.arange(9) < lengths).long()
    return {"input_ids": torch.randint(1, 40, (rows, 9)) * mask_BL, "attention_mask": mask_BL}


@dataclass
class Round:
    """One feedback round on tiny models: everything that the gradient of a teacher depends on."""

    soft: Objective
    classes: int = 2
    teachers: int = 1
    dropout: float = 0.0
    features: bool = False
    dtype: torch.dtype = torch.float64
    student: BertForSequenceClassification = field(init=False)
    served_by: list[BertForSequenceClassification] = field(init=False)

    def __post_init__(self) -> None:
        self.student = bert(self.classes, 0, dropout=self.dropout, dtype=self.dtype).train()
        self.served_by = [bert(self.classes, 1 + k, dtype=self.dtype).eval() for k in range(self.teachers)]
        torch.manual_seed(10)
        self.batch, self.quiz = tokens(ROWS), tokens(QUIZ_ROWS)
        self.labels, self.quiz_labels = self._labels(ROWS), self._labels(QUIZ_ROWS)
        weights_BK = torch.rand(ROWS, self.teachers, dtype=self.dtype)
        weights_BK[0, 1:] = 0.0  # a row that hears one teacher alone
        self.weights_BK = weights_BK / weights_BK.sum(1, keepdim=True)
        self.row_weights_B = torch.rand(ROWS, dtype=self.dtype)

    def _labels(self, rows: int) -> Tensor:
        return torch.randn(rows, dtype=self.dtype) if self.classes == 1 else torch.randint(self.classes, (rows,))

    @property
    def theta(self) -> dict[str, Tensor]:
        return dict(self.student.named_parameters())

    def task_loss(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        if self.classes == 1:
            return (logits_BC[:, 0] - labels_B).square().sum()
        return F.cross_entropy(logits_BC, labels_B, reduction="sum")

    def loss(self, rows: slice, student: Outputs, teachers: Outputs) -> Tensor:
        """These rows' share of L_S."""
        weights_BK = self.weights_BK[rows]
        soft = self.soft.per_example(student[0], teachers[0], weights_BK).sum()
        total = ALPHA * soft + (1 - ALPHA) * self.task_loss(student[0], self.labels[rows])
        if self.features:
            mask_BL1 = self.batch["attention_mask"][rows].unsqueeze(-1)
            gaps_BLH = (student[1] - teachers[1]).square() * mask_BL1
            feature_B = gaps_BLH.sum((1, 2)) / (mask_BL1.sum((1, 2)) * WIDTH)
            total = total + BETA * (self.row_weights_B[rows] * feature_B).sum()
        return total / ROWS

    def run(self, model: BertForSequenceClassification, params: Params | None, encoded: dict[str, Tensor]) -> Outputs:
        given: dict[str, Any] = {**encoded, "output_hidden_states": self.features}
        out = model(**given) if params is None else functional_call(model, dict(params), (), given)
        return (out.logits, out.hidden_states[-1]) if self.features else (out.logits,)

    def forward(self, rows: slice, params: Params) -> Outputs:
        torch.manual_seed(100 + rows.start)
        self.student.train()
        return self.run(self.student, params, {name: t[rows] for name, t in self.batch.items()})

    def quiz_loss(self, params: Params, rows: slice = slice(None)) -> Tensor:
        self.student.eval()
        logits_BC = self.run(self.student, params, {name: t[rows] for name, t in self.quiz.items()})[0]
        self.student.train()
        return self.task_loss(logits_BC, self.quiz_labels[rows]) / QUIZ_ROWS

    def taught(self, rows: slice) -> Outputs:
        """The teachers' side, with its graph."""
        encoded = {name: t[rows] for name, t in self.batch.items()}
        outs = [self.run(teacher, None, encoded) for teacher in self.served_by]
        logits_KBC = torch.stack([out[0] for out in outs])
        return (logits_KBC, outs[0][1]) if self.features else (logits_KBC,)

    def micros(self, shards: Iterable[slice]) -> list[Micro]:
        return [
            Micro(partial(self.forward, rows), partial(self.loss, rows), tuple(t.detach() for t in self.taught(rows)))
            for rows in shards
        ]

    def teacher_parameters(self) -> list[Tensor]:
        return [p for teacher in self.served_by for p in teacher.parameters()]


WHOLE = [slice(0, ROWS)]
UNEQUAL = [slice(0, 9), slice(9, ROWS)]


def alone(gradients: list[Tensor]) -> list[Tensor]:
    return gradients


def flat(gradients: Iterable[Tensor | None], like: list[Tensor]) -> Tensor:
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, like, strict=True)]
    )


def double_backward(round_: Round, shards: list[slice] = WHOLE) -> Tensor:
    """∇_{θ_T} ℓ through the graph of the pilot step."""
    like = round_.teacher_parameters()
    with sdpa_kernel(SDPBackend.MATH):
        theta = round_.theta
        shares = [round_.loss(rows, round_.forward(rows, theta), round_.taught(rows)) for rows in shards]
        found = torch.autograd.grad(torch.stack(shares).sum(), list(theta.values()), create_graph=True)
        phi = {name: p - LR * g for (name, p), g in zip(theta.items(), found, strict=True)}
        return flat(torch.autograd.grad(round_.quiz_loss(phi), like, allow_unused=True), like)


def teacher_backward(round_: Round, shards: list[slice], sent: Sequence[Outputs]) -> Tensor:
    """Σ η·Jᵀc over the micro-batches: one ordinary backward for each, on the teachers' side."""
    like = round_.teacher_parameters()
    total = torch.zeros(sum(p.numel() for p in like), dtype=round_.dtype)
    for rows, c in zip(shards, sent, strict=True):
        total += LR * flat(torch.autograd.grad(round_.taught(rows), like, c, allow_unused=True), like)
    return total


def by_cotangents(
    round_: Round, route: Route, shards: list[slice] = WHOLE, take: Callable[..., Outputs] | None = None
) -> Tensor:
    take = take or DERIVATIVE[route]
    theta, micros = round_.theta, round_.micros(shards)
    phi, at_theta = pilot(theta, micros, LR, alone, route)
    v, _ = quiz_gradient(phi, round_.quiz_loss, alone)
    sent = [cotangents(m, at, take(theta, v, m, at)) for m, at in zip(micros, at_theta, strict=True)]
    return teacher_backward(round_, shards, sent)


def gap(got: Tensor, expected: Tensor) -> float:
    assert torch.isfinite(got).all()
    assert expected.norm() > 0
    return ((got - expected).norm() / expected.norm()).item()

"""Feature losses against their definitions, written as loops over rows, tokens and heads in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from raykd.columns import Column
from raykd.config import FeaturesConfig
from raykd.objective.feature_plan import EncoderShape, plan_features
from raykd.objective.features import FeatureLosses

Captured = dict[Column, torch.Tensor]

TERMS: dict[str, Any] = {"hidden": 1, "embedding": 1, "attention": 1, "pkd": 1, "minilm": 1}
SHAPES = {
    "alike": (EncoderShape(2, 8, 2), EncoderShape(4, 8, 2)),
    "wider": (EncoderShape(2, 8, 2), EncoderShape(4, 12, 2)),
    "more heads": (EncoderShape(2, 8, 2), EncoderShape(4, 8, 4)),
    "deeper student": (EncoderShape(3, 12, 2), EncoderShape(2, 8, 4)),
}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 0]])
"""A full row, padding on the right, on the left, a row of one token."""
GARBAGE = 1e4


def make(shapes: str, terms: dict[str, Any] | None = None, seed: int = 0) -> FeatureLosses:
    settings = FeaturesConfig.model_validate(terms or TERMS)
    return FeatureLosses(plan_features(settings, *SHAPES[shapes], 0), settings, torch.float64, seed)


def captured(columns: tuple[Column, ...], shape: EncoderShape, mask_BL: torch.Tensor, seed: int) -> Captured:
    """Random numbers, others where there is padding."""
    drawn = torch.Generator().manual_seed(seed)
    rows, tokens = mask_BL.shape
    return {
        column: torch.randn(rows, *column.shape(tokens, shape.width, shape.heads), dtype=torch.float64, generator=drawn)
        for column in columns
    }


def both(losses: FeatureLosses, mask_BL: torch.Tensor = MASK) -> tuple[Captured, Captured]:
    plan = losses.plan
    return captured(plan.student_columns, plan.student, mask_BL, 1), captured(
        plan.teacher_columns, plan.teacher, mask_BL, 2
    )


def times(weight: list[list[float]] | None, vector: list[float]) -> list[float]:
    return vector if weight is None else [sum(w * x for w, x in zip(row, vector, strict=True)) for row in weight]


def normalised(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def relation(vectors: list[list[float]], heads: int) -> list[list[list[float]]]:
    """softmax(A Aᵀ / √d) by head and token, of a row's tokens alone."""
    size = len(vectors[0]) // heads
    out = []
    for head in range(heads):
        parts = [vector[head * size : (head + 1) * size] for vector in vectors]
        rows = []
        for a in parts:
            raised = [math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(size)) for b in parts]
            rows.append([value / sum(raised) for value in raised])
        out.append(rows)
    return out


class Loops:
    """The definitions, one number after the other."""

    def __init__(self, losses: FeatureLosses, student: Captured, teacher: Captured, mask_BL: torch.Tensor) -> None:
        self.plan, self.student, self.teacher = losses.plan, student, teacher
        self.tokens = [[k for k, mark in enumerate(row) if mark] for row in mask_BL.tolist()]
        maps: dict[str, Any] = dict(losses.projections.items())
        self.maps = {name: layer.weight.tolist() for name, layer in maps.items()}

    def of(self, term: str) -> list[float]:
        measure = {"hidden": self.hidden, "embedding": self.hidden, "attention": self.attention, "pkd": self.pkd,
                   "minilm": self.minilm}[term]  # fmt: skip
        return [sum(measure(i, own, theirs) for own, theirs in self.plan.pairs[term]) for i in range(len(self.tokens))]

    def hidden(self, i: int, own: int, theirs: int) -> float:
        mine, its = self.student[Column("hidden", own)][i].tolist(), self.teacher[Column("hidden", theirs)][i].tolist()
        squares = [
            (x - y) ** 2
            for k in self.tokens[i]
            for x, y in zip(times(self.maps.get("tokens"), mine[k]), its[k], strict=True)
        ]
        return sum(squares) / len(squares)

    def attention(self, i: int, own: int, theirs: int) -> float:
        mean = self.plan.student.heads != self.plan.teacher.heads
        mine = self.student[Column("scores", own, mean)][i].tolist()
        its = self.teacher[Column("scores", theirs, mean)][i].tolist()
        squares = [
            (mine[head][q][k] - its[head][q][k]) ** 2
            for head in range(len(mine))
            for q in self.tokens[i]
            for k in self.tokens[i]
        ]
        return sum(squares) / len(squares)

    def pkd(self, i: int, own: int, theirs: int) -> float:
        mine = normalised(times(self.maps.get("first"), self.student[Column("first", own)][i].tolist()))
        its = normalised(self.teacher[Column("first", theirs)][i].tolist())
        return sum((x - y) ** 2 for x, y in zip(mine, its, strict=True))

    def minilm(self, i: int, own: int, theirs: int) -> float:
        total, heads, tokens = 0.0, self.plan.relation_heads, self.tokens[i]
        for mine, its in (
            (self.student[Column(kind, own)], self.teacher[Column(kind, theirs)]) for kind in ("query", "key", "value")
        ):
            p = relation([its[i, k].tolist() for k in tokens], heads)
            q = relation([mine[i, k].tolist() for k in tokens], heads)
            total += sum(
                p[r][a][b] * math.log(p[r][a][b] / q[r][a][b])
                for r in range(heads)
                for a in range(len(tokens))
                for b in range(len(tokens))
            ) / (heads * len(tokens))
        return total


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shapes", SHAPES)
def test_every_term_is_its_definition(shapes: str, padded: bool) -> None:
    losses, mask_BL = make(shapes), MASK if padded else torch.ones_like(MASK)
    student, teacher = both(losses, mask_BL)
    got = losses.per_example(student, teacher, mask_BL)
    assert list(got) == list(losses.plan.pairs)
    loops = Loops(losses, student, teacher, mask_BL)
    for term, loss_B in got.items():
        torch.testing.assert_close(loss_B, torch.tensor(loops.of(term), dtype=torch.float64), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 4])
def test_relations_have_heads_of_their_own(heads: int) -> None:
    losses = make("more heads", {"minilm": {"heads": heads, "layers": "uniform"}})
    student, teacher = both(losses)
    wanted = Loops(losses, student, teacher, MASK).of("minilm")
    got = losses.per_example(student, teacher, MASK)["minilm"]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-11, atol=1e-12)


def test_what_is_equal_costs_nothing() -> None:
    losses = make("alike", {name: {"layers": {1: 1}} for name in ("hidden", "attention", "pkd", "minilm")})
    student, _ = both(losses)
    for loss_B in losses.per_example(student, student, MASK).values():
        torch.testing.assert_close(loss_B, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("shapes", ["wider", "more heads"])
def test_gradients_are_those_of_finite_differences(shapes: str, term: str) -> None:
    """Of all that is captured of the student; the padded entries' gradients are zero."""
    losses = make(shapes, {term: TERMS[term]})
    mask_BL = MASK[1:3, :4]
    student, teacher = both(losses, mask_BL)
    columns = list(student)

    def rows(*tensors: torch.Tensor) -> torch.Tensor:
        return losses.per_example(dict(zip(columns, tensors, strict=True)), teacher, mask_BL)[term]

    assert torch.autograd.gradcheck(rows, tuple(tensor.requires_grad_() for tensor in student.values()))


@pytest.mark.parametrize("term", ["hidden", "embedding", "pkd"])
def test_the_projections_gradient_is_that_of_finite_differences(term: str) -> None:
    losses = make("wider", {term: TERMS[term]})
    student, teacher = both(losses)
    (weight,) = losses.parameters()
    (gradient,) = torch.autograd.grad(losses.per_example(student, teacher, MASK)[term].sin().sum(), weight)
    step = 1e-6
    with torch.no_grad():
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                values = []
                for sign in (1, -1):
                    weight[i, j] += sign * step
                    values.append(losses.per_example(student, teacher, MASK)[term].sin().sum().item())
                    weight[i, j] -= sign * step
                assert gradient[i, j].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def padding(column: Column, mask_BL: torch.Tensor) -> torch.Tensor | None:
    """Where padding is in a column, to be broadcast; None where it has one vector a row."""
    padded = ~mask_BL.bool()
    if column.pooled:
        return None
    if column.kind == "scores":
        return (padded[:, :, None] | padded[:, None, :])[:, None]
    return padded[:, :, None]


def spoilt(tensors: Captured, mask_BL: torch.Tensor) -> Captured:
    out = {}
    for column, tensor in tensors.items():
        padded = padding(column, mask_BL)
        out[column] = tensor.clone() if padded is None else torch.where(padded, GARBAGE, tensor)
    return out


@pytest.mark.parametrize("shapes", ["wider", "more heads"])
def test_what_padding_holds_enters_nowhere(shapes: str) -> None:
    losses = make(shapes)
    student, teacher = both(losses)
    clean = losses.per_example(student, teacher, MASK)
    dirty = spoilt(student, MASK)
    dirty_losses = losses.per_example(
        {column: tensor.requires_grad_() for column, tensor in dirty.items()}, spoilt(teacher, MASK), MASK
    )
    for term, loss_B in dirty_losses.items():
        assert torch.equal(loss_B, clean[term])
    losses.total(dirty_losses).sum().backward()
    for column, tensor in dirty.items():
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        padded = padding(column, MASK)
        assert padded is None or not tensor.grad.masked_select(padded).any()
    for parameter in losses.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def cropped(tensors: Captured, row: int, tokens: torch.Tensor) -> Captured:
    """A row by itself, without padding."""
    out = {}
    for column, tensor in tensors.items():
        alone = tensor[row : row + 1]
        if column.kind == "scores":
            alone = alone[:, :, tokens][:, :, :, tokens]
        elif not column.pooled:
            alone = alone[:, tokens]
        out[column] = alone
    return out


@pytest.mark.parametrize("shapes", SHAPES)
def test_a_row_is_the_same_without_its_batch(shapes: str) -> None:
    losses = make(shapes)
    student, teacher = both(losses)
    together = losses.per_example(student, teacher, MASK)
    for row, tokens in enumerate(MASK.bool()):
        mask_BL = torch.ones(1, int(tokens.sum()), dtype=torch.int64)
        alone = losses.per_example(cropped(student, row, tokens), cropped(teacher, row, tokens), mask_BL)
        for term, loss_B in alone.items():
            torch.testing.assert_close(loss_B[0], together[term][row], rtol=1e-12, atol=1e-14)


def test_a_row_has_no_gradient_from_another_rows_loss() -> None:
    losses = make("wider")
    student, teacher = both(losses)
    losses.total(
        losses.per_example({c: t.requires_grad_() for c, t in student.items()}, teacher, MASK)
    )[1].backward()  # fmt: skip
    for tensor in student.values():
        assert tensor.grad is not None
        assert [bool(row.any()) for row in tensor.grad] == [False, True, False, False]


def test_the_total_weighs_each_term() -> None:
    weights = {"hidden": 0.5, "embedding": 2.0, "attention": 3.0, "pkd": 0.0, "minilm": 0.25}
    losses = make("wider", weights)
    got = losses.per_example(*both(losses), MASK)
    wanted = [sum(weights[term] * loss_B[i].item() for term, loss_B in got.items()) for i in range(4)]
    torch.testing.assert_close(losses.total(got), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_precision_is_near_and_stays_single(dtype: torch.dtype) -> None:
    exact = make("more heads")
    student, teacher = both(exact)
    wanted = exact.per_example(student, teacher, MASK)
    losses = FeatureLosses(exact.plan, exact.settings, dtype, 0)
    own, theirs = ({column: tensor.to(dtype) for column, tensor in side.items()} for side in (student, teacher))
    got = losses.per_example(own, theirs, MASK)
    for term, loss_B in got.items():
        assert loss_B.dtype == dtype
        torch.testing.assert_close(loss_B.double(), wanted[term], rtol=1e-5, atol=1e-6)


def weights(losses: FeatureLosses) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in losses.named_parameters()}


def test_projections_are_there_where_widths_differ_and_hidden_states_and_embeddings_share_one() -> None:
    assert not list(make("alike").parameters())
    both_kinds = weights(make("wider"))
    assert {name: tuple(weight.shape) for name, weight in both_kinds.items()} == {
        "projections.tokens.weight": (12, 8),
        "projections.first.weight": (12, 8),
    }
    assert list(weights(make("wider", {"embedding": 1}))) == ["projections.tokens.weight"]
    assert list(weights(make("wider", {"pkd": 1}))) == ["projections.first.weight"]
    assert not weights(make("wider", {"attention": 1, "minilm": 1}))


def test_projections_follow_from_seed_and_name_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights(make("wider", seed=4))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = weights(make("wider", seed=4)), weights(make("wider", seed=5))
    for name, weight in first.items():
        assert torch.equal(again[name], weight)
        assert not torch.equal(other[name], weight)
    assert not torch.equal(*first.values())
    assert torch.equal(weights(make("wider", {"pkd": 1}, seed=4))["projections.first.weight"], [*first.values()][1])
    assert weights(make("wider", seed=2**32 - 1)), "the largest seed"


def test_a_projection_keeps_the_size_of_what_it_projects() -> None:
    settings = FeaturesConfig.model_validate({"hidden": 1})
    plan = plan_features(settings, EncoderShape(1, 256, 2), EncoderShape(1, 384, 2), 0)
    layer = FeatureLosses(plan, settings, torch.float64, 0).projections["tokens"]
    assert isinstance(layer, nn.Linear)
    projected = layer(torch.randn(500, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert projected.square().mean().item() == pytest.approx(1, abs=0.05)

"""A domain head against slow loops, domains that are drawn by row, and files that are damaged or another model's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from raykd import models
from raykd.columns import Column
from raykd.errors import ModelError
from raykd.models import forward
from raykd.models.capture import capture, capture_shape
from raykd.models.domain_head import (
    DESCRIPTION,
    FOLDER,
    WEIGHTS,
    DomainHead,
    load_domain_head,
    other_domains,
)

Checkpoint = Callable[..., Path]
NAMES, WIDTH = ("books", "dvd", "kitchen"), 16


def head(seed: int = 0) -> DomainHead:
    made = DomainHead(NAMES, WIDTH, torch.float64, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.embedding.normal_(generator=generator)
        for tensor in (made.mix.bias, made.classify.weight, made.classify.bias):
            tensor.normal_(generator=generator)
    return made


def test_the_head_is_its_formula() -> None:
    """W (E[d] + m), its tanh and the classifier by loops; an unknown domain has the mean of the embeddings."""
    made = head()
    torch.manual_seed(1)
    mean_BH = torch.randn(5, WIDTH, dtype=torch.float64)
    index_B = made.index(["kitchen", "books", "music", "dvd", "books"])
    assert index_B.tolist() == [2, 0, -1, 1, 0]
    mixed, logits = np.zeros((5, WIDTH)), np.zeros((5, 3))
    table, mix, bias, classify, last = (t.detach().numpy() for t in made.parameters())
    for i, d in enumerate(index_B.tolist()):
        own = [sum(table[:, h]) / 3 if d < 0 else table[d, h] for h in range(WIDTH)]
        for j in range(WIDTH):
            terms = [mix[j, h] * (own[h] + float(mean_BH[i, h])) for h in range(WIDTH)]
            mixed[i, j] = sum(terms) + bias[j]
        for j in range(3):
            terms = [classify[j, h] * np.tanh(mixed[i, h]) for h in range(WIDTH)]
            logits[i, j] = sum(terms) + last[j]
    np.testing.assert_allclose(made.mixed(mean_BH, index_B).detach().numpy(), mixed, rtol=1e-10)
    np.testing.assert_allclose(made(mean_BH, index_B).detach().numpy(), logits, rtol=1e-10)


def test_its_first_values_come_from_its_seed_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (DomainHead(NAMES, WIDTH, torch.float32, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), wanted), "the global random state is left alone"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.mix.weight, other.mix.weight)
    assert not first(torch.randn(4, WIDTH), first.index([*NAMES, "music"])).any(), "its classifier starts from 0"


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "albert"])
def test_the_mean_of_the_captured_states_is_that_of_the_encoder(
    kind: str, checkpoint: Checkpoint, texts: list[str]
) -> None:
    """One pass gives logits and m; the scores' h is taken of the encoder alone."""
    model, tokenizer = models.load(checkpoint(kind), torch.float64)
    encoded = tokenizer(texts[:4], padding=True, return_tensors="pt")
    assert not bool(encoded["attention_mask"].bool().all())
    layers, width, _ = capture_shape(model.config)
    last = Column("hidden", layers)
    logits_BC, captured = capture(model, encoded, (last,))
    mean_BH = forward.masked_mean(captured[last], encoded["attention_mask"])
    assert mean_BH.shape == (4, width)
    torch.testing.assert_close(mean_BH, forward.pooled(model, encoded))
    torch.testing.assert_close(logits_BC, forward.logits(model, encoded))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mean_leaves_padding_out(side: str) -> None:
    torch.manual_seed(0)
    hidden_BLH = torch.randn(2, 4, 3, dtype=torch.float64)
    mask_BL = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]] if side == "right" else [[0, 1, 1, 1], [1, 1, 1, 1]])
    hidden_BLH[0, 3 if side == "right" else 0] = 1e6
    kept = hidden_BLH[0, :3] if side == "right" else hidden_BLH[0, 1:]
    expected = torch.stack([kept.mean(0), hidden_BLH[1].mean(0)])
    torch.testing.assert_close(forward.masked_mean(hidden_BLH, mask_BL), expected)


def test_another_domain_is_drawn_by_row_and_step_alone() -> None:
    """Never the row's own, each of the others as often, the same in any order and batch, another at the next step."""
    rng = np.random.default_rng(0)
    ids, own = np.arange(30_000), rng.integers(4, size=30_000)
    drawn = other_domains(1, 0, ids, own, 4)
    assert not (drawn == own).any()
    counts = np.array([[((own == d) & (drawn == other)).sum() for other in range(4)] for d in range(4)])
    expected = (own == 0).sum() / 3
    assert np.abs(counts[~np.eye(4, dtype=bool)] - expected).max() < 6 * np.sqrt(expected)
    shuffled = rng.permutation(30_000)[:500]
    assert np.array_equal(other_domains(1, 0, shuffled, own[shuffled], 4), drawn[shuffled])
    for seed, step in ((1, 1), (2, 0), (0, 1), (0, 0)):
        again = (other_domains(seed, step, ids, own, 4) == drawn).mean()
        assert again == pytest.approx(1 / 3, abs=0.02), "of one seed and step nothing follows for another"
    assert np.array_equal(other_domains(0, 3, ids, own % 2, 2), 1 - own % 2), "of two domains it is the other one"


@pytest.fixture
def beside(checkpoint: Checkpoint) -> tuple[Path, str]:
    """A checkpoint with its head, and its fingerprint."""
    folder = checkpoint()
    weights = models.weights_fingerprint(folder)
    head().save(folder, weights)
    assert models.weights_fingerprint(folder) == weights, "what is beside a checkpoint is not part of it"
    return folder, weights


def test_saved_and_loaded_it_answers_alike(beside: tuple[Path, str]) -> None:
    folder, weights = beside
    loaded = load_domain_head(folder, weights, torch.float64)
    assert loaded.domains == NAMES
    mean_BH, index_B = torch.randn(4, WIDTH, dtype=torch.float64), torch.tensor([0, 1, 2, -1])
    assert torch.equal(loaded(mean_BH, index_B), head()(mean_BH, index_B))
    assert load_domain_head(folder, weights, torch.float32).embedding.dtype == torch.float32


def one_line_of(folder: Path, weights: str) -> str:
    with pytest.raises(ModelError) as refused:
        load_domain_head(folder, weights, torch.float32)
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2
    return str(refused.value)


def test_a_head_that_is_missing_or_another_models_is_one_line(checkpoint: Checkpoint, beside: tuple[Path, str]) -> None:
    folder, weights = beside
    assert "its domain head is of another checkpoint (prepare it again)" in one_line_of(folder, "0" * 64)
    other = checkpoint("distilbert")
    assert "has no domain head" in one_line_of(other, models.weights_fingerprint(other))
    (folder / FOLDER / WEIGHTS).unlink()
    assert "its domain head is damaged" in one_line_of(folder, weights)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"width": 8},
        {"width": 0},
        {"width": -1},
        {"width": None},
        {"domains": ["books", "dvd"]},
        {"domains": None},
        {"weights": ...},
        "[]",
        "{",
    ],
)
def test_a_damaged_description_is_one_line(beside: tuple[Path, str], changes: dict[str, object] | str) -> None:
    folder, weights = beside
    file = folder / FOLDER / DESCRIPTION
    if isinstance(changes, dict):
        plain = json.loads(file.read_text(encoding="utf-8")) | changes
        changes = json.dumps({key: value for key, value in plain.items() if value is not ...})
    file.write_text(changes, encoding="utf-8")
    assert "its domain head is damaged" in one_line_of(folder, weights)


def test_damaged_weights_are_one_line(beside: tuple[Path, str]) -> None:
    folder, weights = beside
    file = folder / FOLDER / WEIGHTS
    whole, state = file.read_bytes(), load_file(file)
    file.write_bytes(whole[:-50])
    assert "its domain head is damaged" in one_line_of(folder, weights)
    for broken in (
        {name: t for name, t in state.items() if name != "mix.bias"},
        state | {"more": torch.zeros(1)},
        state | {"embedding": torch.zeros(3, WIDTH + 1)},
    ):
        save_file(broken, file)
        assert "its domain head is damaged" in one_line_of(folder, weights)
    state["mix.weight"][0, 0] = torch.nan
    save_file(state, file)
    assert "numbers that are not finite" in one_line_of(folder, weights)

"""Inner outputs against what hooks see on the model's own modules and against its eager attention, in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    XLNetConfig,
)

from raykd.columns import Column
from raykd.errors import ModelError
from raykd.models import load, logits
from raykd.models.capture import NAME, capture, capture_shape

Checkpoint = Callable[..., Path]
Encoded = dict[str, torch.Tensor]
KINDS = ["bert", "distilbert", "roberta", "electra", "albert"]
STACKS = {
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "electra": "electra.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "albert": "albert.encoder.albert_layer_groups",
}
"""The list of each architecture's layers; ALBERT's holds the one that it calls again and again."""
LAYERS, WIDTH, HEADS = 6, 16, 2
SCORES = [Column("scores", layer) for layer in range(1, LAYERS + 1)]
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]])


def rows(mask_BL: torch.Tensor = MASK, words: int = 30) -> Encoded:
    ids = torch.randint(5, words, mask_BL.shape, generator=torch.Generator().manual_seed(3))
    return {"input_ids": torch.where(mask_BL.bool(), ids, 0), "attention_mask": mask_BL}


def fresh(config: PreTrainedConfig, **more: Any) -> PreTrainedModel:
    torch.manual_seed(5)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, **more)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def calls(module: nn.Module, seen: list[tuple[Any, ...]]) -> None:
    """Has the module add what it is called with and what it gives to the list, at each call."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"], out[0] if isinstance(out, tuple) else out))

    module.register_forward_hook(hook, with_kwargs=True)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_what_the_layers_take_and_give(kind: str, checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint(kind, torch.float64), torch.float64)
    model.eval()
    seen: list[tuple[Any, ...]] = []
    for block in model.get_submodule(STACKS[kind]).children():
        calls(block, seen)
    columns = [Column("hidden", layer) for layer in range(LAYERS + 1)]
    logits_BC, captured = capture(model, rows(), columns)
    assert len(seen) == LAYERS
    assert torch.equal(captured[Column("hidden", 0)], seen[0][0]), "0 is what the first layer takes"
    for layer, (_, given) in enumerate(seen, 1):
        assert torch.equal(captured[Column("hidden", layer)], given)
    assert torch.equal(logits_BC, logits(model, rows()))


@pytest.mark.parametrize("kind", KINDS)
def test_queries_keys_and_values_are_what_their_maps_give(kind: str, checkpoint: Checkpoint) -> None:
    """By the modules' names, `….query` and `….q_lin`, in the order of their calls."""
    model, _ = load(checkpoint(kind, torch.float64), torch.float64)
    seen: dict[str, list[tuple[Any, ...]]] = {"query": [], "key": [], "value": []}
    for name, module in model.named_modules():
        for part, outputs in seen.items():
            if name.endswith((f".{part}", f".{part[0]}_lin")):
                calls(module, outputs)
    columns = [Column(part, layer) for part in ("query", "key", "value") for layer in range(1, LAYERS + 1)]
    _, captured = capture(model, rows(), columns)
    for column in columns:
        assert captured[column].shape == (3, 7, WIDTH)
        assert torch.equal(captured[column], seen[column.kind][column.layer - 1][1])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", KINDS)
def test_softmax_of_the_scores_is_the_eager_attention(kind: str, side: str, checkpoint: Checkpoint) -> None:
    folder = checkpoint(kind, torch.float64)
    mask_BL = MASK if side == "right" else MASK.flip(1)
    eager = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").double()
    compare_with_eager(load(folder, torch.float64)[0], eager, mask_BL, 1e-12)


SIZES: dict[str, Any] = {"vocab_size": 40, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS}
DECODERS: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=16, pad_token_id=0),
    "llama": LlamaConfig(**SIZES, intermediate_size=24, num_key_value_heads=HEADS, pad_token_id=0),
}


@pytest.mark.parametrize("kind", [*DECODERS, "modernbert"])
def test_so_it_is_of_decoders_and_of_turned_queries(kind: str) -> None:
    """Causal masks; rotary positions, which are part of the queries and keys."""
    config = DECODERS.get(kind) or ModernBertConfig(**SIZES, intermediate_size=24, pad_token_id=0, cls_token_id=1)
    model, eager = fresh(config), fresh(config, attn_implementation="eager")
    # The eager attention of the last two takes its softmax in float32, whatever the model's precision.
    compare_with_eager(model, eager, MASK, 1e-12 if kind == "gpt2" else 1e-6, causal=kind in DECODERS)


def compare_with_eager(
    model: PreTrainedModel, eager: PreTrainedModel, mask_BL: torch.Tensor, tolerance: float, causal: bool = False
) -> None:
    """softmax(scores + mask) against the probabilities that eager attention returns, for the rows' tokens."""
    encoded, depth = rows(mask_BL), capture_shape(model.config)[0]
    columns = SCORES[:depth]
    with torch.no_grad():
        _, captured = capture(model.eval(), encoded, columns)
        probabilities = eager.eval()(**encoded, output_attentions=True).attentions
    assert len(probabilities) == depth
    length = mask_BL.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool).tril() if causal else torch.ones(length, length).bool()
    allowed = allowed & mask_BL[:, None, None, :].bool()
    tokens = mask_BL.bool()
    for column, wanted in zip(columns, probabilities, strict=True):
        assert captured[column].shape == (3, HEADS, length, length)
        got = captured[column].masked_fill(~allowed, -torch.inf).softmax(-1).transpose(1, 2)[tokens]
        torch.testing.assert_close(got, wanted.transpose(1, 2)[tokens], rtol=0, atol=tolerance)


def test_the_mean_over_heads_is_the_mean(checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint("bert", torch.float64), torch.float64)
    mean = Column("scores", 2, mean_heads=True)
    _, captured = capture(model, rows(), [SCORES[1], mean])
    torch.testing.assert_close(captured[mean], captured[SCORES[1]].mean(1, keepdim=True), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_first_token_is_no_padding(side: str, checkpoint: Checkpoint) -> None:
    model, tokenizer = load(checkpoint("bert", torch.float64), torch.float64)
    tokenizer.padding_side = side
    encoded = tokenizer(["the kettle is good and fast", "dull"], padding=True, return_tensors="pt")
    _, captured = capture(model, encoded, [Column("first", 0), Column("hidden", 0)])
    for i in range(2):
        place = next(k for k, mark in enumerate(encoded["attention_mask"][i].tolist()) if mark)
        assert encoded["input_ids"][i, place] == tokenizer.cls_token_id
        assert torch.equal(captured[Column("first", 0)][i], captured[Column("hidden", 0)][i, place])


@pytest.mark.parametrize("kind", KINDS)
def test_training_draws_the_same_dropout_and_has_the_same_gradients(kind: str, checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint(kind))
    model.train()
    plain: list[torch.Tensor] = []
    with_capture: list[torch.Tensor] = []
    for outcome in (plain, with_capture):
        model.zero_grad()
        torch.manual_seed(11)
        if outcome is plain:
            logits_BC = logits(model, rows())
        else:
            logits_BC, _ = capture(model, rows(), [*SCORES, Column("value", 1), Column("hidden", 2)])
        logits_BC.square().sum().backward()
        outcome.extend([logits_BC, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)])
        outcome.append(torch.get_rng_state())
    torch.manual_seed(12)
    assert not torch.equal(logits(model, rows()), plain[0]), "the seed decides"
    for mine, theirs in zip(with_capture, plain, strict=True):
        assert torch.equal(mine, theirs)


def test_the_scores_gradient_is_that_of_finite_differences(checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint("distilbert", torch.float64), torch.float64)
    weight = dict(model.named_parameters())["distilbert.transformer.layer.1.attention.k_lin.weight"]

    def loss() -> torch.Tensor:
        return capture(model, rows(), [SCORES[1], SCORES[2]])[1][SCORES[2]].sin().sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-6
    with torch.no_grad():
        for i, j in ((0, 0), (3, 9), (15, 2)):
            values = []
            for sign in (1, -1):
                weight[i, j] += sign * step
                values.append(loss().item())
                weight[i, j] -= sign * step
            assert gradient[i, j].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.usefixtures("process_group")
def test_a_data_parallel_model_is_captured_alike(checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint("roberta"))
    columns = [Column("scores", 2), Column("hidden", 3), Column("key", 6)]
    wrapped, alone = capture(DistributedDataParallel(model), rows(), columns), capture(model, rows(), columns)
    assert torch.equal(wrapped[0], alone[0])
    assert all(torch.equal(wrapped[1][column], alone[1][column]) for column in columns)


def test_the_attention_is_put_back_and_never_saved(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model, _ = load(checkpoint("bert"))
    before = model.config._attn_implementation
    saved: list[str] = []

    def save(*_: object) -> None:
        model.save_pretrained(tmp_path / "within")
        saved.append(model.config._attn_implementation)

    handle = model.get_submodule("bert.encoder.layer.3").register_forward_hook(save)
    capture(model, rows(), SCORES)
    handle.remove()
    assert saved == [NAME], "this one was captured"
    capture(model, rows(), [Column("hidden", 1)])
    model.get_submodule("bert.encoder.layer.3").register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        capture(model, rows(), SCORES)
    configs: list[Any] = [part.config for part in model.modules() if hasattr(part, "config")]
    parts = {config._attn_implementation for config in configs}
    assert parts == {before}
    model.save_pretrained(tmp_path / "after")
    for name in ("within", "after"):
        assert NAME not in json.dumps(json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8")))


def test_hidden_states_leave_the_attention_alone(checkpoint: Checkpoint) -> None:
    model, _ = load(checkpoint("bert"))
    within: list[str] = []
    hook = model.get_submodule("bert.encoder.layer.0").register_forward_hook
    hook(lambda *_: within.append(model.config._attn_implementation))
    capture(model, rows(), [Column("hidden", 1), Column("first", 6)])
    assert within == ["sdpa"]


def test_passes_within_one_another_and_side_by_side_are_kept_apart(checkpoint: Checkpoint, tmp_path: Path) -> None:
    student, teacher = (load(checkpoint(kind))[0] for kind in ("distilbert", "albert"))
    alone = [capture(model, rows(), SCORES)[1] for model in (student, teacher)]
    with ThreadPoolExecutor(2) as pool:
        aside = list(pool.map(lambda model: [capture(model, rows(), SCORES)[1] for _ in range(8)], (student, teacher)))
    within: list[dict[Column, torch.Tensor]] = []
    block = student.get_submodule(f"{STACKS['distilbert']}.2")
    block.register_forward_hook(lambda *_: within.append(capture(teacher, rows(), SCORES)[1]))
    around = capture(student, rows(), SCORES)[1]
    for mine, wanted in ((around, alone[0]), (within[0], alone[1]), (aside[0][-1], alone[0]), (aside[1][-1], alone[1])):
        assert all(torch.equal(mine[column], wanted[column]) for column in SCORES)


REFUSED: dict[str, tuple[PreTrainedConfig, Column, str]] = {
    "no attention through the interface": (
        XLNetConfig(vocab_size=40, d_model=WIDTH, n_layer=2, n_head=HEADS, d_inner=24), Column("scores", 1),
        "the attention of layer 1 of a xlnet cannot be read (leave attention and minilm out)",
    ),
    "fewer keys than queries": (
        LlamaConfig(**SIZES, intermediate_size=24, num_key_value_heads=1, pad_token_id=0), Column("query", 2),
        "the attention of layer 2 of a llama cannot be read (leave attention and minilm out)",
    ),
    "two stacks": (
        BartConfig(vocab_size=40, d_model=WIDTH, encoder_layers=2, decoder_layers=2, encoder_attention_heads=HEADS,
                   decoder_attention_heads=HEADS, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=40,
                   eos_token_id=2, pad_token_id=0),
        Column("scores", 1), "the attention of layer 1 of a bart cannot be read",
    ),
    "no such layer": (DECODERS["llama"], Column("scores", 3), "the attention of layer 3 of a llama cannot be read"),
    "no such hidden states": (DECODERS["llama"], Column("hidden", 3), "a llama of 2 layers has no layer 3"),
    "another width": (
        LlamaConfig(**SIZES, head_dim=4, intermediate_size=24, num_key_value_heads=HEADS, pad_token_id=0),
        Column("key", 1), "key.1 of a llama is [3, 7, 8], expected [3, 7, 16] (leave the terms out that compare it)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_read_is_refused(why: str) -> None:
    config, column, message = REFUSED[why]
    encoded = rows()
    if config.model_type == "bart":  # it asks for as many ends of a sentence in each row
        encoded["input_ids"][:, 1] = 2
    with pytest.raises(ModelError) as caught:
        capture(fresh(config), encoded, [column])
    assert str(caught.value).startswith(f"features: {message}")


def test_hidden_states_of_two_stacks_are_refused() -> None:
    encoded = rows()
    encoded["input_ids"][:, 1] = 2
    with pytest.raises(ModelError, match="a bart does not give its hidden states"):
        capture(fresh(REFUSED["two stacks"][0]), encoded, [Column("hidden", 1)])


def test_a_domain_is_no_inner_output(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"domain\.0 is no inner output"):
        capture(load(checkpoint("bert"))[0], rows(), [Column("domain")])


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_found_under_any_name(kind: str, checkpoint: Checkpoint) -> None:
    assert capture_shape(load(checkpoint(kind))[0].config) == (LAYERS, WIDTH, HEADS)


def test_shapes_of_decoders_and_a_config_without_any() -> None:
    assert capture_shape(DECODERS["gpt2"]) == (2, WIDTH, HEADS)
    with pytest.raises(ModelError, match="has no num_hidden_layers, hidden_size, num_attention_heads"):
        capture_shape(PreTrainedConfig())

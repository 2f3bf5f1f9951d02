"""A checkpoint is refused by its headers for what loading its weights would stop at, and nothing else is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from raykd import models
from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.errors import ModelError

Checkpoint = Callable[..., Path]
Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"


def config_with(**change: object) -> Damage:
    """Changes keys of config.json."""

    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return damage


def weights_as(change: Callable[[bytes], bytes]) -> Damage:
    """Changes the bytes of the weights."""
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def without(part: str) -> Damage:
    """Drops the tensors whose names hold `part`."""

    def damage(folder: Path) -> None:
        kept = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if part not in name}
        save_file(kept, folder / WEIGHTS, {"format": "pt"})

    return damage


def text_of(file: str, text: str) -> Damage:
    return lambda folder: (folder / file).write_text(text)


MISFIT = "its weights do not fit its config.json: "
DAMAGED = [
    (weights_as(lambda raw: raw[:8] + b"x" * 50 + raw[58:]), "its weights cannot be read"),
    (weights_as(lambda raw: struct.pack("<Q", 2**60) + raw[8:]), "its weights cannot be read"),
    (weights_as(lambda raw: raw[: len(raw) // 2]), "its weights cannot be read"),
    (weights_as(lambda raw: raw[:4]), "its weights cannot be read"),
    (weights_as(lambda raw: struct.pack("<Q", 9000) + b'{"a":' + b"[" * 8995 + raw), "its weights cannot be read"),
    (text_of("config.json", "{"), "its config.json cannot be read"),
    (text_of("config.json", '{"a":' * 100_000), "its config.json cannot be read"),
    (text_of("config.json", '{"model_type": "bert", "hidden_size": ' + "9" * 5000 + "}"), "config.json cannot be read"),
    (config_with(num_attention_heads=0), "its config.json cannot be read"),
    (config_with(pad_token_id=9999), "its config.json cannot be read"),
    (config_with(id2label={"x": "a"}), "its config.json cannot be read"),
    (config_with(hidden_size=32), MISFIT + r"bert\.\S+ is \[16\], by the configuration \[32\]"),
    (config_with(hidden_size=2**20), MISFIT + "it describes .* parameters"),
    (config_with(num_hidden_layers=8), MISFIT + r"bert.encoder.layer.6\S+ is not among them"),
    (config_with(num_hidden_layers=10**8), MISFIT + "it has 100000000 layers"),
    (config_with(num_hidden_layers=4), MISFIT + r"the weights hold bert.encoder.layer.5\S+, and it has 4 layers"),
    (config_with(vocab_size=500), MISFIT + r"bert.embeddings.word_embeddings.weight"),
    (config_with(model_type="roberta"), MISFIT + r"roberta.embeddings\S+ is not among them"),
    (without("layer.3."), MISFIT + r"bert.encoder.layer.3"),
    (text_of("tokenizer.json", "{"), "its tokenizer cannot be read"),
    (text_of("tokenizer.json", '{"a":' * 50_000), "its tokenizer cannot be read"),
    (text_of("tokenizer_config.json", "{"), "its tokenizer cannot be read"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer files"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED)
def test_what_cannot_be_used_is_one_line(damage: Damage, message: str, checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    damage(folder)
    with pytest.raises(ModelError, match=message) as refused:
        models.inspect(str(folder))
    assert "\n" not in str(refused.value)
    assert refused.value.mend


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "albert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_architecture_that_loads_is_accepted(kind: str, dtype: torch.dtype, checkpoint: Checkpoint) -> None:
    folder = checkpoint(kind, dtype)
    before = torch.get_rng_state()
    info = models.inspect(str(folder))
    assert torch.equal(torch.get_rng_state(), before), "the run's random state is its own"
    model, _ = models.load(folder)
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert {name: tuple(parameter.shape) for name, parameter in info.layout.named_parameters()} == expected
    assert all(parameter.is_meta for parameter in info.layout.parameters())
    assert info.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (info.layers, info.hidden_size) == (6, 16)
    info.check_classifier()
    positions = models.longest_input(model)
    assert positions is not None
    info.check_length(positions)
    with pytest.raises(ModelError, match=f"takes {positions} tokens, max_length is {positions + 1}"):
        info.check_length(positions + 1)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_an_encoder_without_a_classifier_can_be_trained_and_not_served(
    kind: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = checkpoint(kind)
    model, tokenizer = models.load(folder)
    encoder = tmp_path / "encoder"
    AutoModel.from_config(model.config).save_pretrained(encoder)  # names without the architecture's prefix
    tokenizer.save_pretrained(encoder)
    info = models.inspect(str(encoder))
    assert all("classifier" in name or "pooler" in name for name in info.untrained)
    with pytest.raises(ModelError, match="its classifier is untrained"):
        info.check_classifier()


def test_labels_that_the_classifier_does_not_have(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    config_with(id2label={str(k): f"class {k}" for k in range(3)})(folder)
    info = models.inspect(str(folder))
    assert info.labels == ["class 0", "class 1", "class 2"]
    with pytest.raises(ModelError, match=r"no classifier\.bias of the shape that its labels need"):
        info.check_classifier()


def test_the_planned_layout_is_what_is_built(checkpoint: Checkpoint, task: Task) -> None:
    folder = checkpoint()
    spec = ModelConfig.model_validate({"from": str(folder), "layers": [0, 3, 5]})
    layout = models.planned_layout(spec, models.inspect(str(folder)), 40)
    built, _ = models.build(spec, task, None, 0, 40)
    assert [name for name, _ in layout.named_parameters()] == [name for name, _ in built.named_parameters()]


@pytest.mark.parametrize(
    ("keys", "max_length", "message"),
    [
        ({"layers": 9}, 40, "has 6 layers, 9 cannot be kept"),
        ({}, 41, "takes 40 tokens, max_length is 41"),
    ],
)
def test_a_plan_that_cannot_be_built(
    keys: dict[str, object], max_length: int, message: str, checkpoint: Checkpoint
) -> None:
    folder = checkpoint()
    spec = ModelConfig.model_validate({"from": str(folder), **keys})
    with pytest.raises(ModelError, match=message):
        models.planned_layout(spec, models.inspect(str(folder)), max_length)


def test_layers_that_share_weights_cannot_be_truncated(checkpoint: Checkpoint) -> None:
    folder = checkpoint("albert")
    spec = ModelConfig.model_validate({"from": str(folder), "layers": 2})
    with pytest.raises(ModelError, match="it cannot be truncated"):
        models.planned_layout(spec, models.inspect(str(folder)), 40)


def test_shards_are_those_of_the_index(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model, tokenizer = models.load(checkpoint())
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "shards")
    info = models.inspect(str(tmp_path / "shards"))
    assert info.parameters == sum(parameter.numel() for parameter in model.parameters())
    save_file({"extra": torch.zeros(5)}, tmp_path / "shards" / "adapter.safetensors")
    assert models.inspect(str(tmp_path / "shards")).parameters == info.parameters
    next((tmp_path / "shards").glob("model-00001-*")).unlink()
    with pytest.raises(ModelError, match="its weights cannot be read"):
        models.inspect(str(tmp_path / "shards"))

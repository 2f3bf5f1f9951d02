"""What is refused, each in one line: pickled weights, remote code, damaged, incomplete and untrained checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from raykd.errors import ModelError
from raykd.models import load, logits, resolve, weights_fingerprint

Checkpoint = Callable[..., Path]


def edit_config(folder: Path, **change: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def lose_a_layer(folder: Path) -> None:
    edit_weights(folder, lambda state: {key: value for key, value in state.items() if "layer.3." not in key})


def lose_the_head(folder: Path) -> None:
    edit_weights(folder, lambda state: {key: value for key, value in state.items() if "classifier" not in key})


def ask_for_code(folder: Path) -> None:
    (folder / "theirs.py").write_text("raise SystemExit('remote code ran')")
    auto_map = {"AutoConfig": "theirs.C", "AutoModelForSequenceClassification": "theirs.M"}
    edit_config(folder, model_type="theirs", auto_map=auto_map)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (pickle_weights, "pickled weights are refused"),
        (cut_weights, "weights cannot be read"),
        (lose_a_layer, "weights do not fit its config.json: bert.encoder.layer.3"),
        (lose_the_head, "classifier is untrained"),
        (ask_for_code, "config.json cannot be read"),
        (lambda folder: edit_config(folder, hidden_size=32), "weights do not fit its config.json"),
        (lambda folder: edit_config(folder, num_hidden_layers="six"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer files"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_one_line(
    damage: Callable[[Path], object], said: str, checkpoint: Checkpoint
) -> None:
    folder = checkpoint()
    damage(folder)
    with pytest.raises(ModelError, match=said) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_a_tokenizer_of_another_model_is_refused(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerFast) -> None:
    folder = checkpoint()
    edit_config(folder, vocab_size=50)
    edit_weights(
        folder, lambda state: {key: value[:50].clone() for key, value in state.items()} | _word_rows(state, 50)
    )
    with pytest.raises(ModelError, match=f"ids up to {len(tokenizer) - 1}, its model 50"):
        load(folder)


def _word_rows(state: dict[str, torch.Tensor], rows: int) -> dict[str, torch.Tensor]:
    word = "bert.embeddings.word_embeddings.weight"
    return {**state, word: state[word][:rows].clone()}


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere/nothing", "no such folder, and the hub"), ("/nowhere/at/all", "no name of a hub model")],
)
def test_a_name_that_leads_nowhere_is_one_line(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=said) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_resolve_gives_a_folder_as_it_is(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint()
    assert resolve(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert resolve(folder.name) == folder


def test_sharded_weights_are_read_and_a_missing_shard_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, texts: list[str]
) -> None:
    folder = checkpoint()
    model, tokenizer = load(folder)
    shards = tmp_path / "shards"
    model.save_pretrained(shards, max_shard_size="20KB")
    tokenizer.save_pretrained(shards)
    assert not (shards / "model.safetensors").exists()
    row = tokenizer(texts[0], return_tensors="pt")
    assert torch.equal(logits(load(shards)[0], row), logits(model, row))
    next(shards.glob("model-00001-*")).unlink()
    with pytest.raises(ModelError, match="weights cannot be read"):
        load(shards)


def test_a_loaded_model_does_not_hang_on_its_file(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    model, _ = load(folder)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    file = folder / "model.safetensors"
    with file.open("r+b") as stream:
        stream.write(b"\0" * file.stat().st_size)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.data_ptr() % 64 == 0 for parameter in model.parameters()), "as memory of its own is aligned"


def test_the_weights_fingerprint_follows_what_shapes_the_logits(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    before = weights_fingerprint(folder)
    edit_config(folder, transformers_version="0", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    assert weights_fingerprint(folder) == before
    edit_config(folder, hidden_act="relu")
    changed = weights_fingerprint(folder)
    assert changed != before
    edit_weights(folder, lambda state: {key: value + 1e-6 for key, value in state.items()})
    assert weights_fingerprint(folder) not in (before, changed)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        weights_fingerprint(folder)

"""Fingerprints of a teacher: what its soft targets depend on, as content hashes.

docs/design.md, section "The store".
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from raykd.errors import ModelError, one_line
from raykd.files import sha256
from raykd.models.tokenizers import read_tokenizer

NO_ARCHITECTURE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "finetuning_task",
    "id2label",
    "label2id",
    "problem_type",
    "torch_dtype",
    "transformers_version",
}
"""Keys of config.json that leave the logits as they are. Label names count in the order of columns, not here."""


def weights_fingerprint(folder: Path | str) -> str:
    """sha256 over a checkpoint's safetensors files and the part of its config.json that shapes the model."""
    path = Path(folder)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(str(folder), "has no *.safetensors", "give the folder of a checkpoint")
    whole = hashlib.sha256()
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        for file in files:
            whole.update(f"{file.name} {sha256(file)}\n".encode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(str(folder), f"cannot be read: {one_line(error)}", "download or save it again") from None
    whole.update(_canonical({key: value for key, value in config.items() if key not in NO_ARCHITECTURE}))
    return whole.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase | Path | str) -> str:
    """sha256 over all that decides which ids a text becomes, of a tokenizer or of the one in a folder."""
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        tokenizer = read_tokenizer(Path(tokenizer), str(tokenizer))
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(tokenizer.name_or_path, "its tokenizer has no fast form", "save it with a tokenizer.json")
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # Left over from the last call; every call of ours sets them again.
    for key in ("truncation", "padding"):
        backend.pop(key)
    sides = [tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token_id, tokenizer.pad_token_type_id]
    return hashlib.sha256(_canonical([backend, sides, sorted(tokenizer.model_input_names)])).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()

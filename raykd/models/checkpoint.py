"""Checkpoints on disk: where a name points to, and reading and writing a folder. Safetensors only, no remote code."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raykd.errors import ModelError
from raykd.models.hub_errors import quiet, reading
from raykd.models.tokenizers import TOKENIZER_FILES, read_tokenizer

logger = logging.getLogger(__name__)

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors"]


def resolve(name: str) -> Path:
    """The folder of a checkpoint: `name` itself where it is a folder, else the hub's snapshot of that name.

    Raises:
        ModelError: nothing is there, or its weights are not safetensors.
    """
    folder = _folder(name)
    if not (folder / "config.json").is_file():
        raise ModelError(name, "has no config.json", "give the folder or hub name of a Hugging Face checkpoint")
    if not any((folder / file).is_file() for file in (SINGLE, INDEX)):
        raise ModelError(
            name, "has no model.safetensors; pickled weights are refused", "save it with safe serialization first"
        )
    return folder


def resolve_tokenizer(name: str) -> Path:
    """As `resolve`, for a folder or hub name of which only the tokenizer is wanted."""
    folder = _folder(name)
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(name, "has no tokenizer files", "wordpiece and bpe train one on the corpus")
    return folder


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    try:
        # Nested files are other formats (onnx/, openvino/), never the checkpoint itself.
        return Path(snapshot_download(name, allow_patterns=DOWNLOADED, ignore_patterns=["*/*"]))
    except HFValidationError:
        raise ModelError(name, "no such folder, and no name of a hub model", "check the path") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ModelError(name, f"the hub refused it (HTTP {status})", "check the name and your access to it") from None
    except (HTTPError, OSError):  # what the client's HTTP library raises is no OSError
        raise ModelError(
            name, "no such folder, and the hub could not be asked or does not have it", "check the name or the network"
        ) from None


def load(folder: Path | str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained classifier from a folder or hub name, in `dtype` whatever precision it was stored in, in eval mode.

    Raises:
        ModelError: it cannot be read, or its classifier head has not been trained.
    """
    path, where = resolve(str(folder)), str(folder)
    model, drawn = read_model(path, read_config(path, where), where, dtype)
    require_classifier(drawn, where)
    tokenizer = read_tokenizer(path, where)
    check_vocabulary(model, tokenizer, where)
    return model, tokenizer


def load_encoder(
    folder: Path | str, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As `load`, of a checkpoint whose hidden states alone are wanted: it need not be a classifier.

    Raises:
        ModelError: it cannot be read.
    """
    path, where = resolve(str(folder)), str(folder)
    model, _ = read_model(path, read_config(path, where), where, dtype)
    tokenizer = read_tokenizer(path, where)
    check_vocabulary(model, tokenizer, where)
    return model, tokenizer


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | str) -> None:
    """Writes weights (safetensors), configuration and tokenizer; `load` and `from_pretrained` read them."""
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def read_config(path: Path, where: str) -> PreTrainedConfig:
    """The checkpoint's configuration; ModelError where it is unreadable or asks for code of its own."""
    with reading(where, "config.json"):
        return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def read_model(
    path: Path, config: PreTrainedConfig, where: str, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, list[str]]:
    """The model of `config` with the folder's weights, and the names of parameters that the folder lacks.

    Those are drawn at random. Only a pooler and a classifier may be, the latter also because its shape is another.

    Raises:
        ModelError: the weights are damaged, or lack a part of the encoder.
    """
    with reading(where, "weights"):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    drawn = missing_weights(info, model.base_model_prefix, where)
    if drawn:
        logger.info("%s: new weights for %s", where, ", ".join(drawn))
    if info["unexpected_keys"]:
        logger.info("%s: unused weights %s", where, ", ".join(sorted(info["unexpected_keys"])))
    _own(model)
    return model.eval(), drawn


def missing_weights(info: dict[str, Any], base_model_prefix: str, where: str) -> list[str]:
    """Parameters that the weights lack or have in another shape, by what their reader reports: of the classifier only.

    Raises:
        ModelError: a part of the encoder is among them; a pooler may be.
    """
    shapes = {key: (list(stored), list(wanted)) for key, stored, wanted in info["mismatched_keys"]}
    missing = sorted({*info["missing_keys"], *shapes})
    lost = [key for key in missing if key.startswith(f"{base_model_prefix}.") and ".pooler." not in key]
    if lost:
        stored, wanted = shapes.get(lost[0], ([], []))
        why = f" is {stored}, by the configuration {wanted}" if lost[0] in shapes else " is not among them"
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ModelError(
            where, f"its weights do not fit its config.json: {lost[0]}{why}{more}", "the checkpoint is incomplete"
        )
    return missing


def require_classifier(drawn: list[str], where: str) -> None:
    """ModelError where a classifier that answers as it is has parameters among those that are drawn."""
    if drawn:
        what = f"its classifier is untrained: its weights have no {drawn[0]} of the shape that its labels need"
        raise ModelError(where, what, "fine-tune it (prepare: finetune), or mend id2label in its config.json")


def _own(model: PreTrainedModel) -> None:
    """Copies the weights out of the memory-mapped file.

    A file that is saved again would change or crash a model that is still mapped to it; and rows that begin at odd
    addresses are multiplied by other kernels, so that a resumed run would not be bit-equal.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """ModelError where the tokenizer makes ids that the model's embedding table does not have."""
    table = model.get_input_embeddings()
    largest = max(tokenizer.get_vocab().values())
    if isinstance(table, nn.Embedding) and largest >= table.num_embeddings:
        what = f"its tokenizer has ids up to {largest}, its model {table.num_embeddings} embeddings"
        raise ModelError(where, what, "they do not belong together")

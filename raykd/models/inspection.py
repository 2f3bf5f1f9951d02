"""A checkpoint looked at without loading its weights: everything that a run would otherwise stop at later.

The model is laid out on the meta device, and the reader of the weights itself is run on stand-ins of their shapes, so
that names which it changes or adds are judged as in the run.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from raykd.config import ModelConfig
from raykd.errors import ModelError
from raykd.models.build import fresh_config, set_dropout
from raykd.models.checkpoint import (
    check_vocabulary,
    missing_weights,
    read_config,
    require_classifier,
    resolve,
    resolve_tokenizer,
)
from raykd.models.describe import count, stored_shapes
from raykd.models.hub_errors import reading
from raykd.models.labels import model_labels
from raykd.models.length import check_length
from raykd.models.tokenizers import KINDS, check_vocab_size, read_tokenizer
from raykd.models.truncate import layer_stack, which_layers

LAYER = re.compile(r"\.(?:layer|layers|h|block)\.(\d+)\.")
"""How architectures name the layers of their one stack."""
SLACK = 10**8
"""Parameters that a model may have beyond twice those of its weights: more is a config.json of another model."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint holds.

    Attributes:
        name: folder or hub name as configured, for messages.
        folder: where it lies.
        config: its configuration.
        labels: names of its logit columns, in order.
        shapes: of the tensors in its weights, by name.
        layout: the classifier of its configuration on the meta device: names and shapes, no values.
        untrained: parameters of the layout's classifier that the weights lack, or have in another shape.
    """

    name: str
    folder: Path
    config: PreTrainedConfig
    labels: list[str]
    shapes: dict[str, tuple[int, ...]]
    layout: PreTrainedModel
    untrained: list[str]

    @property
    def layers(self) -> int | None:
        """The number of its transformer layers, where its configuration has it."""
        return getattr(self.config, "num_hidden_layers", None)

    @property
    def hidden_size(self) -> int | None:
        """The width of its hidden states; None where its configuration does not name it so."""
        return getattr(self.config, "hidden_size", None)

    @property
    def parameters(self) -> int:
        """How many numbers its weights hold."""
        return count(self.shapes)

    def check_classifier(self) -> None:
        """ModelError where its classifier is not among the weights."""
        require_classifier(self.untrained, self.name)

    def check_length(self, max_length: int) -> None:
        """ModelError where rows of `max_length` tokens are longer than its positions."""
        check_length(self.layout, max_length, self.name)


def inspect(name: str) -> CheckpointInfo:
    """Looks at a checkpoint.

    Args:
        name: its folder or hub name.

    Raises:
        ModelError: something in it cannot be read, its weights do not fit its config.json, or its tokenizer not its
            vocabulary.
    """
    folder = resolve(name)
    config, shapes = read_config(folder, name), stored_shapes(folder, name)
    depth = getattr(config, "num_hidden_layers", None)
    if isinstance(depth, int) and depth > len(shapes):
        raise _misfit(name, f"it has {depth} layers, the weights are {len(shapes)} tensors")
    layout = _on_meta(config, name)
    described = sum(parameter.numel() for parameter in layout.parameters())
    if described > 2 * count(shapes) + SLACK:
        raise _misfit(name, f"it describes {described:,} parameters, the weights hold {count(shapes):,}")
    untrained = _untrained(layout, shapes, name)
    tokenizer = read_tokenizer(folder, name)
    check_vocabulary(layout, tokenizer, name)
    with reading(name, "id2label"):
        labels = model_labels(config)
    return CheckpointInfo(name, folder, config, labels, shapes, layout, untrained)


def planned_layout(spec: ModelConfig, info: CheckpointInfo | None, max_length: int) -> PreTrainedModel:
    """The model that `build` would make, on the meta device.

    Args:
        info: of the checkpoint `spec.from_`; None for a fresh model, whose vocabulary is then the largest allowed.
        max_length: tokens of the longest row that the model will see.

    Raises:
        ModelError: as `build`.
    """
    if info is None:
        check_vocab_size(spec.tokenizer, spec.vocab_size)
        vocabulary = spec.vocab_size
        if spec.tokenizer not in KINDS:
            tokenizer = read_tokenizer(resolve_tokenizer(spec.tokenizer), spec.tokenizer)
            vocabulary = max(tokenizer.get_vocab().values()) + 1
        return _on_meta(fresh_config(spec, vocabulary, 0, max_length), "fresh model")
    info.check_length(max_length)
    config = copy.deepcopy(info.config)
    set_dropout(config, spec.dropout, info.name)
    if spec.layers is not None:
        if info.layers is None:
            raise ModelError(info.name, f"a {config.model_type} has no number of layers", "leave `layers` out")
        kept = which_layers(spec.layers, info.layers, info.name)
        if len(kept) < info.layers:
            layer_stack(info.layout, info.layers, info.name)
        config.num_hidden_layers = len(kept)
    return _on_meta(config, info.name)


def _on_meta(config: PreTrainedConfig, where: str) -> PreTrainedModel:
    # The run's random state is left as it is: nothing is drawn on the meta device, but no architecture promises that.
    with reading(where, "config.json"), torch.random.fork_rng(devices=[]), torch.device("meta"):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    return model


def _untrained(layout: PreTrainedModel, shapes: dict[str, tuple[int, ...]], where: str) -> list[str]:
    """What the weights lack of the classifier; ModelError where they lack a part of the encoder, or have more of it."""
    # One number seen in every place of a tensor: the reader sees the shape, and no memory is taken.
    stand_ins = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    with reading(where, "weights"), torch.random.fork_rng(devices=[]):
        loaded: Any = type(layout).from_pretrained(
            None,
            config=copy.deepcopy(layout.config),
            state_dict=stand_ins,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _, info = loaded
    untrained = missing_weights(info, layout.base_model_prefix, where)
    known = {LAYER.sub(".", name) for name in layout.state_dict()}
    deeper = sorted(name for name in info["unexpected_keys"] if LAYER.search(name) and LAYER.sub(".", name) in known)
    if deeper:
        depth = layout.config.num_hidden_layers
        raise _misfit(where, f"the weights hold {deeper[-1]}, and it has {depth} layers")
    return untrained


def _misfit(where: str, what: str) -> ModelError:
    return ModelError(where, f"its weights do not fit its config.json: {what}", "they belong to two checkpoints")

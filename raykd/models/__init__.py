"""Models: a checkpoint, a truncation or a shape to a classifier and its tokenizer. Knows neither ray nor the data."""

from raykd.models.build import build
from raykd.models.checkpoint import load, load_encoder, resolve, save
from raykd.models.describe import describe, parameter_count
from raykd.models.fingerprint import tokenizer_fingerprint, weights_fingerprint
from raykd.models.forward import choose_device, choose_dtype, freeze_embeddings, logits
from raykd.models.inspection import CheckpointInfo, inspect, planned_layout
from raykd.models.labels import column_order, model_labels
from raykd.models.length import check_length, longest_input
from raykd.models.tokenizers import read_tokenizer
from raykd.models.trainable import freeze_all_but, trainable_names

__all__ = [
    "CheckpointInfo",
    "build",
    "check_length",
    "choose_device",
    "choose_dtype",
    "column_order",
    "describe",
    "freeze_all_but",
    "freeze_embeddings",
    "inspect",
    "load",
    "load_encoder",
    "logits",
    "longest_input",
    "model_labels",
    "parameter_count",
    "planned_layout",
    "read_tokenizer",
    "resolve",
    "save",
    "tokenizer_fingerprint",
    "trainable_names",
    "weights_fingerprint",
]

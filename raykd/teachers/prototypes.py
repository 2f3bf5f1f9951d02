"""t_i = ρ cos(P_{d_i,y_i}, h_i) + (1 − ρ)/(D − 1) Σ_{d ≠ d_i} cos(P_{d,y_i}, h_i): how typical of its class a row is.

Pan et al., "Meta-KD", ACL 2021, section 3.1. h is the mean of the last hidden states of the encoder before it is
fine-tuned, P_{d,c} the mean h of the rows of domain d and class c.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from raykd import models
from raykd.data.encoding import Encoder
from raykd.errors import ModelError, one_line
from raykd.models import forward
from raykd.models.domain_head import FOLDER
from raykd.training.job import Subset

FORMAT = 1
VECTORS, DESCRIPTION, ENCODER = "prototypes.safetensors", "prototypes.json", "encoder"
BATCH = 64


@dataclass(frozen=True)
class Prototypes:
    """A vector for each domain and class.

    Attributes:
        domains, labels: names of the first two axes; labels are the task's classes in their order.
        vectors: [D, C, H] float64; NaN where a domain has no row of a class.
        share: ρ.
    """

    domains: tuple[str, ...]
    labels: tuple[str, ...]
    vectors: np.ndarray
    share: float

    @classmethod
    def of(
        cls, pooled_NH: np.ndarray, domains: Sequence[str], classes_N: np.ndarray, labels: Sequence[str], share: float
    ) -> Prototypes:
        """From rows with their domains and classes; domains are put in the order of their names."""
        names = tuple(sorted(set(domains)))
        row_domains = np.array([names.index(name) for name in domains])
        vectors = np.full((len(names), len(labels), pooled_NH.shape[1]), np.nan)
        for d in range(len(names)):
            for c in range(len(labels)):
                chosen = (row_domains == d) & (classes_N == c)
                if chosen.any():
                    vectors[d, c] = pooled_NH[chosen].astype(np.float64).mean(axis=0)
        return cls(names, tuple(labels), vectors, share)

    def scores(self, pooled_NH: np.ndarray, domains: Sequence[str], classes_N: np.ndarray) -> np.ndarray:
        """t of each row, [N] float64, not below 0.

        A prototype that is missing is left out of the mean over the other domains. Where that of the row's own domain
        is missing, as of a domain that is not known, that mean has all of the weight, and the other way round.
        """
        vectors_NDH = self.vectors[:, classes_N].transpose(1, 0, 2)
        rows_N1H = pooled_NH.astype(np.float64)[:, None, :]
        lengths = np.linalg.norm(vectors_NDH, axis=-1) * np.linalg.norm(rows_N1H, axis=-1)
        cosines_ND = (vectors_NDH * rows_N1H).sum(-1) / np.maximum(lengths, 1e-12)
        own_ND = np.array([[name == domain for name in self.domains] for domain in domains], bool)
        there_ND = ~np.isnan(cosines_ND)
        parts = []
        for share, which in ((self.share, own_ND & there_ND), (1 - self.share, ~own_ND & there_ND)):
            counts_N = which.sum(axis=1)
            means_N = np.where(which, cosines_ND, 0.0).sum(axis=1) / np.maximum(counts_N, 1)
            parts.append((means_N, np.where(counts_N > 0, share, 0.0)))
        weights_N = parts[0][1] + parts[1][1]
        total_N = sum(mean * weight for mean, weight in parts)
        return np.maximum(total_N / np.where(weights_N > 0, weights_N, 1.0), 0.0)

    def save(self, checkpoint: Path) -> None:
        """Writes them beside a checkpoint."""
        folder = checkpoint / FOLDER
        folder.mkdir(exist_ok=True)
        save_file({"vectors": self.vectors}, folder / VECTORS)
        description = {"format": FORMAT, "domains": self.domains, "labels": self.labels, "share": self.share}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def load_prototypes(checkpoint: Path) -> Prototypes:
    """The prototypes beside a meta-teacher's checkpoint.

    Raises:
        ModelError: there are none, or they are damaged.
    """
    where, folder = str(checkpoint), checkpoint / FOLDER
    if not (folder / DESCRIPTION).is_file():
        raise ModelError(where, "has no prototypes", "prepare it with `prepare: meta`")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']}, known is {FORMAT}")
        domains, labels = (tuple(str(name) for name in description[key]) for key in ("domains", "labels"))
        vectors = load_file(folder / VECTORS)["vectors"]
        if vectors.ndim != 3 or vectors.shape[:2] != (len(domains), len(labels)) or np.isinf(vectors).any():
            raise ValueError(f"vectors of shape {vectors.shape} for {len(domains)} domains and {len(labels)} classes")
        return Prototypes(domains, labels, vectors, float(description["share"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(where, f"its prototypes are damaged: {one_line(error, 120)}", "prepare it again") from None


def pooled_rows(encoder: Path, subset: Subset, max_length: int) -> np.ndarray:
    """h of the subset's rows, [N, H] float32, by an encoder in this process, on its CPU."""
    model, tokenizer = models.load_encoder(encoder)
    model.eval()
    encode = Encoder(tokenizer, subset.rows(), max_length)
    ids, parts = subset.ids, []
    order = np.argsort(encode.lengths(ids), kind="stable")
    with torch.inference_mode():
        for start in range(0, len(ids), BATCH):
            parts.append(forward.pooled(model, encode.encode(ids[order[start : start + BATCH]])).numpy())
    pooled = np.concatenate(parts)
    out = np.empty_like(pooled)
    out[order] = pooled
    return out

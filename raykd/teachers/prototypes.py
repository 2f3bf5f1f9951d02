"""t_i = ρ cos(P_{d_i,y_i}, h_i) + (1 − ρ)/(D − 1) Σ_{d ≠ d_i} cos(P_{d,y_i}, h_i): how typical of its class a row is.

Pan et al., "Meta-KD", ACL 2021, section 3.1. h is the mean of the last hidden states of the encoder before it is
fine-tuned, P_{d,c} the mean h of the rows of domain d and class c.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from raykd.training.evaluate import predict
from raykd.training.job import Subset

FORMAT = 1
VECTORS, DESCRIPTION, ENCODER = "prototypes.safetensors", "prototypes.json", "encoder"


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
        is missing, as of a domain that is not known, that mean has all of the weight, and the other way round. Where
        all are missing t is 0.
        """
        cosines_ND, there_ND = self.cosines(pooled_NH, classes_N)
        places = {name: k for k, name in enumerate(self.domains)}
        own_N = np.array([places.get(name, -1) for name in domains])
        own_ND = own_N[:, None] == np.arange(len(self.domains))
        first_N, second_N = (_mean_of(cosines_ND, which_ND & there_ND) for which_ND in (own_ND, ~own_ND))
        share_N = np.where(np.isnan(first_N), 0.0, np.where(np.isnan(second_N), 1.0, self.share))
        return np.maximum(share_N * np.nan_to_num(first_N) + (1 - share_N) * np.nan_to_num(second_N), 0.0)

    def in_order(self, columns: Sequence[int]) -> Prototypes:
        """The same with the classes in another order: class c is what was class columns[c].

        Raises:
            ModelError: they are of another number of classes.
        """
        order = list(columns)
        if sorted(order) != list(range(len(self.labels))):
            what = f"are of {len(self.labels)} classes, the teacher has {len(order)}"
            raise ModelError("prototypes", what, "prepare the teacher again")
        return replace(self, labels=tuple(self.labels[c] for c in order), vectors=self.vectors[:, order])

    def cosines(self, pooled_NH: np.ndarray, classes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each row with the prototype of its class in each domain, [N, D], and where there is such a prototype."""
        there_DC = ~np.isnan(self.vectors).any(axis=-1)
        rows_NH, unit_DCH = _unit(pooled_NH.astype(np.float64)), _unit(np.nan_to_num(self.vectors))
        cosines_ND = np.zeros((len(rows_NH), len(self.domains)))
        for c in range(len(self.labels)):  # a product of matrices for each class: all at once would be [N, D, H]
            chosen_N = classes_N == c
            cosines_ND[chosen_N] = rows_NH[chosen_N] @ unit_DCH[:, c].T
        return cosines_ND, there_DC.T[classes_N]

    def save(self, checkpoint: Path) -> None:
        """Writes them beside a checkpoint."""
        folder = checkpoint / FOLDER
        folder.mkdir(exist_ok=True)
        save_file({"vectors": self.vectors}, folder / VECTORS)
        description = {"format": FORMAT, "domains": self.domains, "labels": self.labels, "share": self.share}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1 along the last axis; 0 stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _mean_of(values_ND: np.ndarray, which_ND: np.ndarray) -> np.ndarray:
    """Of the chosen values of each row, [N]; NaN of a row without any."""
    counts_N = which_ND.sum(axis=1)
    return np.where(counts_N > 0, (values_ND * which_ND).sum(axis=1) / np.maximum(counts_N, 1), np.nan)


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
        if vectors.ndim != 3 or vectors.shape[:2] != (len(domains), len(labels)):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(domains)} domains and {len(labels)} classes")
        finite_DCH = np.isfinite(vectors)
        if not (finite_DCH.all(axis=-1) | np.isnan(vectors).all(axis=-1)).all():
            raise ValueError("vectors hold numbers that are not finite")
        return Prototypes(domains, labels, vectors, float(description["share"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(where, f"its prototypes are damaged: {one_line(error, 120)}", "prepare it again") from None


def pooled_rows(encoder: Path, subset: Subset, max_length: int) -> np.ndarray:
    """h of the subset's rows, [N, H] float32, by an encoder in this process, on its CPU."""
    model, tokenizer = models.load_encoder(encoder)
    encoder_of = Encoder(tokenizer, subset.rows(), max_length)
    return predict(model, encoder_of, subset.ids, torch.device("cpu"), forward.pooled)

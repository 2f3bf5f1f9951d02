"""Shows: a training loop in plain PyTorch that distils from an ensemble that `raykd serve up` keeps on a cluster.

Command, where RAY_ADDRESS names the cluster:
    raykd serve up workloads/quickstart.yaml name=reviews
    python -m raykd.workloads.served_torch_student reviews train.parquet my/small-encoder student/

The file has the columns text and, where rows have labels, label (a name of the ensemble's classes, empty without one).
Rows without a label are learnt from the teachers alone. Each row is computed once, whoever asks and how often.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import raykd
from raykd.serve.connection import ServedEnsemble

from .draws import program

AHEAD = 4
"""Batches that are asked for before they are needed."""


def class_ids(frame: pd.DataFrame, labels: Sequence[str]) -> torch.Tensor:
    """The class of each row, −1 of those without a label."""
    named = frame["label"] if "label" in frame else pd.Series([None] * len(frame))
    return torch.tensor([labels.index(name) if name in labels else -1 for name in named])


def train(
    ensemble: ServedEnsemble,
    frame: pd.DataFrame,
    student: str,
    output: Path,
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 1e-4,
    temperature: float = 2.0,
    alpha: float = 0.5,
    seed: int = 0,
) -> list[float]:
    """Trains a student and saves it as a Hugging Face checkpoint; returns the loss of each step.

    The loss is α T² KL(teachers ‖ student) on all rows + (1 − α) cross-entropy on those with a label (Hinton, Vinyals
    and Dean 2015, section 2), where the teachers' distributions at T are averaged.
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForSequenceClassification.from_pretrained(
        student, num_labels=len(ensemble.labels), id2label=dict(enumerate(ensemble.labels))
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    texts, labels = frame["text"].tolist(), class_ids(frame, ensemble.labels)
    ids = ensemble.register(texts)
    order = np.random.default_rng(seed)
    losses = []
    for _ in range(epochs):
        shuffled = order.permutation(ids)
        batches = [shuffled[k : k + batch_size] for k in range(0, len(shuffled), batch_size)]
        for k, batch in enumerate(batches):
            ensemble.prefetch(batches[k : k + AHEAD])
            logits_KBC = torch.from_numpy(ensemble.soft_targets(ids=batch)).float()
            encoded = tokenizer([texts[i] for i in batch], padding=True, truncation=True, return_tensors="pt")
            logits_BC = model(**encoded).logits
            soft_BC = (logits_KBC / temperature).softmax(-1).mean(0)
            log_BC = (logits_BC / temperature).log_softmax(-1)
            loss = alpha * temperature**2 * F.kl_div(log_BC, soft_BC, reduction="batchmean")
            known = labels[batch] >= 0
            if known.any():
                loss = loss + (1 - alpha) * F.cross_entropy(logits_BC[known], labels[batch][known])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return losses


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensemble", help="its name")
    parser.add_argument("rows", type=Path, help="a parquet file")
    parser.add_argument("student", help="a hub name or folder")
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-4)
    words = parser.parse_args()
    with raykd.connect(words.ensemble) as ensemble:
        losses = train(ensemble, pd.read_parquet(words.rows), words.student, words.output, words.epochs, lr=words.lr)
    print(f"{len(losses)} steps, loss {losses[0]:.3f} at the first and {losses[-1]:.3f} at the last: {words.output}")


if __name__ == "__main__":
    program(main)

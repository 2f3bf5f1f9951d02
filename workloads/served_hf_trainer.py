"""Shows: `transformers.Trainer` that distils from an ensemble that `raykd serve up` keeps on a cluster.

Command, where RAY_ADDRESS names the cluster (needs the extra `trainer`):
    raykd serve up workloads/quickstart.yaml name=reviews
    python -m raykd.workloads.served_hf_trainer reviews train.parquet my/small-encoder student/

The file has the columns text and label (a name of the ensemble's classes).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

import raykd
from raykd.serve.connection import ServedEnsemble

from .draws import program

ROW = "row"
"""The column of a row's id in the ensemble's corpus."""


class DistillationTrainer(Trainer):
    """A Trainer whose loss is α T² KL(teachers ‖ student) + (1 − α) times that on the labels.

    Rows of `train_dataset` have their id in the column `row`; set `remove_unused_columns=False`. Rows without that
    column (of an evaluation) have the loss on labels alone.

    Args:
        ensemble: knows the texts of the training rows by `register`.
        temperature: T, of teachers and student.
        alpha: the weight of the teachers.
    """

    def __init__(
        self, *args: Any, ensemble: ServedEnsemble, temperature: float = 2.0, alpha: float = 0.5, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch: accumulated ones are divided
        self.ensemble, self.temperature, self.alpha = ensemble, temperature, alpha

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch (Hinton, Vinyals and Dean 2015, section 2)."""
        rows_B = inputs.pop(ROW, None)
        outputs = model(**inputs)
        loss = outputs.loss
        if rows_B is not None:
            targets_KBC = torch.from_numpy(self.ensemble.soft_targets(ids=rows_B.cpu().numpy()))
            soft_BC = (targets_KBC.to(outputs.logits) / self.temperature).softmax(-1).mean(0)
            log_BC = (outputs.logits / self.temperature).log_softmax(-1)
            soft = self.temperature**2 * F.kl_div(log_BC, soft_BC, reduction="batchmean")
            loss = self.alpha * soft + (1 - self.alpha) * loss
        return (loss, outputs) if return_outputs else loss


def train(
    ensemble: ServedEnsemble, frame: pd.DataFrame, student: str, output: Path, **settings: Any
) -> DistillationTrainer:
    """Trains a student on labelled rows and saves it; returns the Trainer, whose state has the log.

    Args:
        settings: of TrainingArguments.
    """
    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForSequenceClassification.from_pretrained(
        student, num_labels=len(ensemble.labels), id2label=dict(enumerate(ensemble.labels))
    )
    texts = frame["text"].tolist()
    rows = tokenizer(texts, truncation=True) | {
        "labels": [ensemble.labels.index(name) for name in frame["label"]],
        ROW: ensemble.register(texts).tolist(),
    }
    arguments = TrainingArguments(output_dir=str(output), remove_unused_columns=False, report_to=[], **settings)
    trainer = DistillationTrainer(
        model,
        arguments,
        train_dataset=Dataset.from_dict(dict(rows)),
        data_collator=DataCollatorWithPadding(tokenizer),
        ensemble=ensemble,
    )
    trainer.train()
    trainer.save_model(str(output))
    tokenizer.save_pretrained(output)
    return trainer


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensemble", help="its name")
    parser.add_argument("rows", type=Path, help="a parquet file")
    parser.add_argument("student", help="a hub name or folder")
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=1e-4)
    words = parser.parse_args()
    with raykd.connect(words.ensemble) as ensemble:
        trained = train(
            ensemble, pd.read_parquet(words.rows), words.student, words.output,
            num_train_epochs=words.epochs, learning_rate=words.lr, per_device_train_batch_size=32,
        )  # fmt: skip
    print(f"{trained.state.global_step} steps: {words.output}")


if __name__ == "__main__":
    program(main)

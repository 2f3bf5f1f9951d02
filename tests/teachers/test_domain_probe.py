"""Can a linear probe, trained afterwards, read a row's domain in the frozen mean of a meta-teacher's last states?

The start stands for a pretrained encoder: it has been trained to tell the domains, so that there is something to
unlearn. A fresh model of this size keeps next to nothing of the domain by itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny import generated_corpus

from raykd import models
from raykd.config import DataConfig, MetaTeacherConfig, ModelConfig, OptimConfig, TaskConfig, TeacherConfig
from raykd.data import corpus as corpora
from raykd.data.tasks import Task
from raykd.teachers.meta_teacher import MetaStepFactory
from raykd.teachers.prototypes import pooled_rows
from raykd.training import loop
from raykd.training.job import Job, StepFactory, Subset, WorkerContext
from raykd.training.supervised import SupervisedStepFactory

NAMES = ("books", "electronics", "kitchen")
TRAINING = OptimConfig(epochs=4, batch_size=32, lr=1e-3, eval_every=10_000, log_every=100, threads=1)


def train(job: Job, folder: Path, step: StepFactory, settings: OptimConfig = TRAINING) -> Path:
    """The trained checkpoint's folder; evaluated at the end alone, so that it is the last one."""
    job = replace(job, folder=str(folder), metrics=str(folder / "metrics.jsonl"), step=step, settings=settings)
    place = WorkerContext(0, 1, torch.device("cpu"), 1)
    return Path(loop.train(job, place, lambda metrics: None, lambda: False).best)


def told_apart(folder: Path, seed: int) -> Job:
    """A job whose model starts from one that tells the domains of the corpus."""
    corpus, task = generated_corpus(folder / "cache", rows=1000, validation_rows=300, domains=3)
    train_rows, validation = Subset.of(corpus, "train"), Subset.of(corpus, "validation")
    (folder / "named").mkdir()
    for name, subset in (("train", train_rows), ("validation", validation)):
        rows = subset.rows()
        table = pd.DataFrame({"text": rows.texts(subset.ids), "label": rows.domains(subset.ids)})
        table.to_csv(folder / "named" / f"{name}.csv", index=False)
    named = corpora.load(DataConfig(source=str(folder / "named")), TaskConfig(), folder / "cache")
    naming = Task("classification", "accuracy", tuple(named.labels or ()))
    shape = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=300, dropout=0.0)
    models.save(*models.build(shape, naming, train_rows.texts(), seed, 24), folder / "fresh")
    job = Job(
        folder="", metrics="", model=str(folder / "fresh"), task=naming, train=Subset.of(named, "train"),
        validation=Subset.of(named, "validation"), settings=TRAINING, seed=seed, max_length=24,
        step=SupervisedStepFactory(),
    )  # fmt: skip
    best = train(job, folder / "naming", SupervisedStepFactory(), TRAINING.model_copy(update={"lr": 3e-3}))
    start = ModelConfig.model_validate({"from": str(best)})
    models.save(*models.build(start, task, None, seed, 24), folder / "start")
    return replace(job, model=str(folder / "start"), task=task, train=train_rows, validation=validation)


def probed(checkpoint: Path, job: Job) -> float:
    """The accuracy of a linear probe on validation rows."""
    (m, names), (new, expected) = (
        (pooled_rows(checkpoint, subset, 24), np.array(subset.rows().domains(subset.ids)))
        for subset in (job.train, job.validation)
    )
    return float(LogisticRegression(max_iter=2000).fit(m, names).score(new, expected))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_probe_reads_the_domain_worse_after_reversal(tmp_path: Path, seed: int) -> None:
    job, read = told_apart(tmp_path, seed), {}
    for domain_loss in ("none", "corrupt", "reverse"):
        config = TeacherConfig.of({"prepare": "meta", "model": "unused", "domain_loss": domain_loss})
        assert isinstance(config, MetaTeacherConfig)
        step = MetaStepFactory("", NAMES, config.model_copy(update={"prototype_weights": False}))
        read[domain_loss] = probed(train(job, tmp_path / domain_loss, step), job)
    print(f"domain read by a linear probe: {read}")  # of `corrupt` nothing is expected
    assert read["none"] > 0.9
    assert read["reverse"] < read["none"] - 0.05

"""Training loops that are not raykd's, on a served ensemble: the worked examples of workloads/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY_TEACHER, easy_rows, tiny_config
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import raykd
from raykd import api, models
from raykd import config as configuration
from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.serve import ensembles
from raykd.serve.connection import ServedEnsemble
from raykd.workloads import served_torch_student

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local")]


@pytest.fixture(scope="module")
def folder(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ensemble `loops` of one teacher that has learnt its rows, which lie in the folder; a fresh small student."""
    folder = tmp_path_factory.mktemp("loops")
    data = easy_rows(folder)
    teacher = TINY_TEACHER | {"name": "easy", "finetune": {"epochs": 4, "lr": 3e-3, "batch_size": 32}}
    raw = tiny_config({"name": "loops", "data": data, "teachers": [teacher]}, folder / "cache")
    raw["task"] = {"labels": ["0", "1"]}
    api.serve_up(configuration.parse(raw), folder / "up")
    fresh = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=300, dropout=0.0)
    texts = pd.read_csv(folder / "train.csv")["text"].tolist()
    student, tokenizer = models.build(fresh, Task("classification", "accuracy", ("0", "1")), texts, 0, 16)
    models.save(student, tokenizer, folder / "fresh")
    yield folder
    ensembles.down("loops", force=True)


@pytest.fixture
def ensemble(folder: Path) -> Iterator[ServedEnsemble]:
    with raykd.connect("loops") as connected:
        yield connected


def rows_of(folder: Path, split: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{split}.csv", dtype={"label": str})


def accuracy(checkpoint: Path, frame: pd.DataFrame) -> float:
    """Of a saved student, by transformers alone."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    encoded = AutoTokenizer.from_pretrained(checkpoint)(frame["text"].tolist(), padding=True, return_tensors="pt")
    with torch.inference_mode():
        predicted = model(**encoded).logits.argmax(-1).tolist()
    return float(np.mean([model.config.id2label[k] == name for k, name in zip(predicted, frame["label"], strict=True)]))


def test_a_plain_torch_student_learns_from_the_teachers_alone(
    ensemble: ServedEnsemble, folder: Path, tmp_path: Path
) -> None:
    """Without any label; each row is computed once in three epochs."""
    frame = rows_of(folder, "train")
    before = ensembles.status("loops")["teachers"]["easy"]["service"]["rows"]["forwards"]
    losses = served_torch_student.train(
        ensemble, frame[["text"]], str(folder / "fresh"), tmp_path / "student", epochs=6, lr=5e-3, alpha=1.0
    )
    after = ensembles.status("loops")["teachers"]["easy"]["service"]["rows"]["forwards"]
    assert after - before == len(frame)
    assert len(losses) == 6 * 10
    assert losses[-1] < 0.5 * losses[0]
    assert accuracy(tmp_path / "student", rows_of(folder, "validation")) > 0.8


def test_the_trainer_of_transformers_distils(ensemble: ServedEnsemble, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the extra `trainer`")
    from raykd.workloads import served_hf_trainer

    settings = {"num_train_epochs": 6, "learning_rate": 5e-3, "per_device_train_batch_size": 32, "use_cpu": True}
    frame = rows_of(folder, "train")
    trainer = served_hf_trainer.train(
        ensemble, frame, str(folder / "fresh"), tmp_path / "student", logging_steps=10, disable_tqdm=True, **settings
    )
    assert trainer.state.global_step == 6 * 10
    assert accuracy(tmp_path / "student", rows_of(folder, "validation")) > 0.8
    trainer.alpha = 1.0
    batch = trainer.data_collator([trainer.train_dataset[k] for k in range(8)])
    rows = batch["row"].numpy()
    expected_KBC = torch.from_numpy(ensemble.soft_targets(ids=rows)).double()
    model = trainer.model.eval()
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    soft_BC = (expected_KBC / 2).softmax(-1).mean(0)
    student_BC = (outputs.logits.double() / 2).softmax(-1)
    by_hand = 4 * (soft_BC * (soft_BC / student_BC).log()).sum(-1).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-4)

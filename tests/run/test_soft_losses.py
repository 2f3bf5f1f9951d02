"""Whole runs with the losses that need several classes or the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from logs import losses
from tiny import TINY_TEACHER, Configure

from raykd import api

pytestmark = pytest.mark.usefixtures("ray_local")

TEACHER = {**TINY_TEACHER, "finetune": {"epochs": 8, "lr": 5e-3, "batch_size": 16}}
EXACT = ["train.precision=float64", "teachers.0.precision=float64"]


@pytest.fixture
def three_classes(tmp_path: Path) -> dict[str, Any]:
    """Rows whose class a word tells, some without labels; the section `data` that reads them."""
    rng, start = np.random.default_rng(0), 100
    for name, count in (("train", 150), ("validation", 60), ("more", 90)):
        labels = rng.integers(3, size=count)
        texts = [f"{('red', 'tan', 'sky')[label]} {' '.join(str(start + k))}" for k, label in enumerate(labels)]
        pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / f"{name}.csv", index=False)
        start += count
    return {"source": str(tmp_path), "max_length": 16, "unlabeled": "more"}


@pytest.mark.parametrize(
    ("loss", "temperature"),
    [({"type": "dkd", "temperature": 2.0, "alpha": 0.9}, 2), ({"type": "dist", "alpha": 0.9}, 1)],
)
def test_a_student_learns_by_them(
    configure: Configure, tmp_path: Path, three_classes: dict[str, Any], loss: dict[str, Any], temperature: int
) -> None:
    result = api.distill(
        configure("train.epochs=8", "train.lr=5e-3", data=three_classes, objective=loss, teachers=[TEACHER]),
        tmp_path / "run",
    )
    assert result.value is not None
    assert result.value > 0.9
    assert np.isfinite(losses(tmp_path / "run")).all()
    card = (tmp_path / "run" / "student" / "README.md").read_text(encoding="utf-8")
    assert f"temperature {temperature}" in card
    assert not [warning for warning in result.warnings if "objective" in warning]


def test_a_term_that_is_left_out_is_in_the_result(configure: Configure, tmp_path: Path) -> None:
    result = api.distill(configure("train.max_steps=3", objective="dist"), tmp_path)
    assert "objective dist: the term of beta is constant for two classes and left out" in result.warnings


@pytest.mark.slow
def test_three_workers_are_one(configure: Configure, tmp_path: Path, three_classes: dict[str, Any]) -> None:
    """Through Ray Train; batches of 34 rows of both kinds and a last one of 2, of which a worker has none."""
    base = [*EXACT, "train.batch_size=34", "train.epochs=1", "objective.type=dist", "objective.alpha=0.6"]
    api.distill(configure(*base, data=three_classes), tmp_path / "one")
    api.distill(configure(*base, "train.workers=3", data=three_classes), tmp_path / "three")
    assert len(losses(tmp_path / "one")) == 8
    np.testing.assert_allclose(losses(tmp_path / "three"), losses(tmp_path / "one"), rtol=1e-8)


@pytest.mark.nightly
def test_teachers_learn_through_them(configure: Configure, tmp_path: Path, three_classes: dict[str, Any]) -> None:
    for kind in ("dkd", "dist"):
        settings = ["train.max_steps=3", f"objective.type={kind}", "feedback.type=metadistil"]
        result = api.distill(configure(*settings, data=three_classes), tmp_path / kind)
        assert result.feedback is not None
        assert all((teacher.drift or 0) > 0 for teacher in result.feedback.teachers.values())

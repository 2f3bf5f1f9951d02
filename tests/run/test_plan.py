"""The plan says what a run will really do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import Configure

from raykd import api, models
from raykd.config import ModelConfig
from raykd.data.tasks import Task
from raykd.errors import ModelError

TASK = Task("classification", "accuracy", ("negative", "positive"))


def test_the_plan_counts_what_the_run_builds(configure: Configure, tmp_path: Path) -> None:
    deep = ModelConfig(layers=4, hidden_size=32, heads=2, vocab_size=200)
    model, tokenizer = models.build(deep, TASK, ["some words to learn from", "and a few more"], 0, 24)
    models.save(model, tokenizer, tmp_path / "deep")
    config = configure(f"student={{from: {tmp_path / 'deep'}, layers: 2}}", "train.max_steps=5")
    cut, _ = models.build(config.student, TASK, None, 0, 24)
    plan = api.check(config)
    assert plan["student"]["parameters"] == sum(p.numel() for p in cut.parameters())
    assert plan["student"]["steps"] == 5
    assert plan["rows"] == {"train": 240, "validation": 80}
    assert plan["teachers"][0]["prepare"] == "finetune"


def test_a_teacher_of_other_classes_is_refused_before_anything_runs(configure: Configure, tmp_path: Path) -> None:
    three = Task("classification", "accuracy", ("a", "b", "c"))
    spec = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=200)
    model, tokenizer = models.build(spec, three, ["some words to learn from"], 0, 24)
    models.save(model, tokenizer, tmp_path / "three")
    with pytest.raises(ModelError, match=r"3 classes \(a, b, c\)"):
        api.check(configure(teachers=[str(tmp_path / "three")]))
    with pytest.raises(ModelError, match="layers"):
        api.check(configure(f"student={{from: {tmp_path / 'three'}, layers: [0, 7]}}"))

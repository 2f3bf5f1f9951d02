"""A tiny teacher and the embedded corpus."""

from __future__ import annotations

import pytest
from stand_ins import TASK, prepared
from tiny import generated_corpus

from raykd import models
from raykd.config import ModelConfig
from raykd.data.corpus import Corpus
from raykd.teachers.teacher_model import TeacherModel

SHAPE = ModelConfig(layers=1, hidden_size=32, heads=2, vocab_size=400, dropout=0.0)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generated_corpus(tmp_path_factory.mktemp("corpora"), rows=300, validation_rows=60)[0]


@pytest.fixture(scope="session")
def teacher(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TeacherModel:
    """Random weights serve as well as learnt ones here; float64, so that equal means equal."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = corpus.rows("train").texts(corpus.ids["train"])
    model, tokenizer = models.build(SHAPE, TASK, texts, 0, 32)
    models.save(model, tokenizer, folder)
    return prepared(folder)

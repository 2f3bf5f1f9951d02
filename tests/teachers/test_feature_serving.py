"""Inner outputs from a teacher to a batch: packed without padding, served stored or unstored."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from stand_ins import DyingReplica, ids_of, spec_of

from raykd import models
from raykd.columns import Column
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.errors import TeacherError
from raykd.models.capture import capture
from raykd.teachers.features import pack, row_bytes, unpack
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.replica import ModelReplica
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.values import Ragged
from raykd.teachers.teacher_model import TeacherModel

COLUMNS = (Column("first", 1), Column("hidden", 0), Column("hidden", 1), Column("scores", 1), Column("value", 1))


@pytest.fixture
def inner(teacher: TeacherModel) -> TeacherModel:
    return replace(teacher, output="features", features=COLUMNS, columns=(), labels=())


@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_packed_is_what_the_model_gave_without_padding(inner: TeacherModel, corpus: Corpus, side: str) -> None:
    model, tokenizer = models.load(inner.folder, torch.float64)
    tokenizer.padding_side = side
    ids = ids_of(corpus)[:7]
    encoded = Encoder(tokenizer, corpus.rows("train"), 32).encode(ids)
    mask = encoded["attention_mask"]
    assert not bool(mask.bool().all())
    with torch.no_grad():
        _, captured = capture(model, encoded, COLUMNS)
    values = pack(captured, inner, mask)
    assert isinstance(values, Ragged)
    expected = row_bytes(COLUMNS, mask.sum(1).numpy(), 2, 32, "float64")
    assert values.flat.nbytes == expected
    back = unpack(values, inner, 2, 32, mask, torch.float64)
    for column in COLUMNS:
        for i, tokens in enumerate(mask.bool()):
            theirs, mine = captured[column][i], back[column][i]
            if column.kind == "scores":
                torch.testing.assert_close(mine[:, tokens][:, :, tokens], theirs[:, tokens][:, :, tokens])
                assert not mine[:, ~tokens].any()
                assert not mine[:, :, ~tokens].any()
            elif column.pooled:
                torch.testing.assert_close(mine, theirs)
            else:
                torch.testing.assert_close(mine[tokens], theirs[tokens])
                assert not mine[~tokens].any()


def test_a_row_of_another_length_is_refused(inner: TeacherModel, corpus: Corpus) -> None:
    local = LocalTeacher(inner, torch.device("cpu"))
    values = local.answer(corpus.splits["train"], ids_of(corpus)[:1])
    mask = torch.ones(1, 31, dtype=torch.int64)
    with pytest.raises(TeacherError, match=r"of a row of 31 tokens are \d+ numbers, not \d+"):
        unpack(values, inner, 2, 32, mask, torch.float64)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_unstored_features_are_computed_whenever_they_are_asked_for(
    inner: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    """Two epochs of two students, room for few rows, a replica that dies: every answer right, nothing stored."""
    inner = replace(inner, folder=str(shutil.copytree(inner.folder, tmp_path / "teacher")))
    local = LocalTeacher(inner, torch.device("cpu"))
    split, ids = corpus.splits["train"], ids_of(corpus)[:96]
    spec = replace(spec_of(inner, tmp_path, DyingReplica, replicas=2), keep_bytes=200_000)
    served.append(connect(spec))
    source = TargetSource(inner, split, spec.cache, "run", np.empty(0, np.int64), spec)
    clients = [TeacherClient(source), TeacherClient(replace(source, run="other"))]
    batches = np.array_split(ids, 6)
    wanted = [local.answer(split, batch) for batch in batches]
    for _ in range(2):
        for k, batch in enumerate(batches):
            for client in clients:
                client.prefetch(batches[k : k + 3])
                got = client.get_values(batch)
                expected = wanted[k]
                assert isinstance(got, Ragged)
                assert isinstance(expected, Ragged)
                np.testing.assert_array_equal(got.sizes, expected.sizes)
                np.testing.assert_allclose(got.flat, expected.flat, rtol=1e-9, atol=1e-12)
    forwards = ray.get(served[0].progress.remote("run"))["forwards"]
    assert len(ids) < forwards
    assert (tmp_path / "teacher" / "failed").exists()
    assert not (tmp_path / "targets").exists()


@pytest.mark.usefixtures("ray_local")
def test_pooled_features_are_stored_like_logits(
    inner: TeacherModel, corpus: Corpus, tmp_path: Path, served: list[Any]
) -> None:
    pooled = replace(inner, features=(Column("first", 0), Column("first", 1)), columns=tuple(range(64)))
    split, ids = corpus.splits["train"], ids_of(corpus)[:40]
    spec = spec_of(pooled, tmp_path, ModelReplica)
    served.append(connect(spec))
    got = TeacherClient(TargetSource(pooled, split, spec.cache, "run", ids, spec)).get_values(ids)
    wanted = LocalTeacher(pooled, torch.device("cpu")).answer(split, ids)
    assert isinstance(got, np.ndarray)
    assert isinstance(wanted, np.ndarray)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    deadline = time.monotonic() + 30
    while pooled.store(tmp_path, split.texts).sealed() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    back = unpack(got, pooled, 2, 32, torch.ones(40, 5, dtype=torch.int64), torch.float64)
    assert back[Column("first", 1)].shape == (40, 32)

"""Prototype scores against slow loops, the encoder's vectors against one row at a time, and damaged files."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from stand_ins import ids_of

from raykd import models
from raykd.data.corpus import Corpus
from raykd.errors import ModelError
from raykd.models.domain_head import FOLDER
from raykd.teachers.prototypes import DESCRIPTION, VECTORS, Prototypes, load_prototypes, pooled_rows
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

LABELS = ("no", "maybe", "yes")
DOMAINS = ("dvd", "books", "kitchen")


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
    return sum(x * y for x, y in zip(one, other, strict=True)) / lengths


def slow(
    rows: np.ndarray,
    domains: list[str],
    classes: np.ndarray,
    share: float,
    new: np.ndarray,
    of: list[str],
    c: np.ndarray,
) -> list[float]:
    """t of the rows `new`, with the prototypes of `rows`, one number at a time from the formula."""
    prototypes: dict[tuple[str, int], list[float]] = {}
    for key in {(name, int(k)) for name, k in zip(domains, classes, strict=True)}:
        own = [row for row, name, k in zip(rows, domains, classes, strict=True) if (name, int(k)) == key]
        prototypes[key] = [sum(float(row[h]) for row in own) / len(own) for h in range(rows.shape[1])]
    scores = []
    for row, name, k in zip(new, of, c, strict=True):
        own_part = [cosine(prototypes[name, int(k)], row)] if (name, int(k)) in prototypes else []
        others = [cosine(p, row) for (d, label), p in sorted(prototypes.items()) if label == k and d != name]
        if own_part and others:
            t = share * own_part[0] + (1 - share) * sum(others) / len(others)
        else:
            both = own_part + others
            t = sum(both) / len(both) if both else 0.0
        scores.append(max(t, 0.0))
    return scores


def drawn(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    pooled = rng.normal(size=(rows, 5)) + 0.3
    return pooled, [DOMAINS[k] for k in rng.integers(3, size=rows)], rng.integers(3, size=rows)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_scores_are_those_of_the_formula(share: float) -> None:
    pooled, domains, classes = drawn()
    prototypes = Prototypes.of(pooled, domains, classes, LABELS, share)
    assert prototypes.domains == ("books", "dvd", "kitchen"), "by name, not in the order in which they come"
    got = prototypes.scores(pooled, domains, classes)
    np.testing.assert_allclose(got, slow(pooled, domains, classes, share, pooled, domains, classes), rtol=1e-12)
    assert got.max() > 0.5
    assert got.min() == 0.0, "negative cosines are clamped"


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_missing_prototype_and_an_unknown_domain_leave_their_weight_to_the_rest(share: float) -> None:
    pooled, domains, classes = drawn()
    # Of kitchen no row says maybe; yes is said in books alone.
    kept = np.array([
        not (name == "kitchen" and k == 1) and not (name != "books" and k == 2)
        for name, k in zip(domains, classes, strict=True)
    ])  # fmt: skip
    seen = [name for name, keep in zip(domains, kept, strict=True) if keep]
    prototypes = Prototypes.of(pooled[kept], seen, classes[kept], LABELS, share)
    assert np.isnan(prototypes.vectors[2, 1]).all()
    new, of, c = drawn(40, seed=1)
    of[:10] = ["music"] * 10
    expected = slow(pooled[kept], seen, classes[kept], share, new, of, c)
    np.testing.assert_allclose(prototypes.scores(new, of, c), expected, rtol=1e-12)


def test_an_unknown_domain_has_the_mean_over_all_known_ones() -> None:
    vectors = np.eye(3)[:, None, :]
    prototypes = Prototypes(("a", "b", "c"), ("one",), vectors, share=0.9)
    row, zero = np.array([[3.0, 4.0, 0.0]]), np.array([0])
    assert prototypes.scores(row, ["elsewhere"], zero)[0] == pytest.approx((0.6 + 0.8 + 0) / 3)
    assert prototypes.scores(row, ["a"], zero)[0] == pytest.approx(0.9 * 0.6 + 0.1 * 0.4)


def test_a_row_of_zeros_and_a_class_without_prototypes_score_zero() -> None:
    vectors = np.full((2, 2, 4), np.nan)
    vectors[:, 0] = 1.0
    prototypes = Prototypes(("a", "b"), ("one", "two"), vectors, share=0.5)
    rows = np.stack([np.zeros(4), np.ones(4)])
    assert prototypes.scores(rows, ["a", "a"], np.array([0, 1])).tolist() == [0.0, 0.0]


def test_vectors_are_means_without_padding_of_one_row_at_a_time(teacher: TeacherModel, corpus: Corpus) -> None:
    subset = Subset(corpus.splits["train"], ids_of(corpus)[:150:-1].copy())
    pooled_NH = pooled_rows(Path(teacher.folder), subset, 24)
    model, tokenizer = models.load_encoder(teacher.folder, torch.float64)
    rows = corpus.rows("train").texts(subset.ids)
    assert len(rows) > 64, "more than one batch"
    for k in (0, 1, 70, len(rows) - 1):
        encoded = tokenizer(rows[k], truncation=True, max_length=24, return_tensors="pt")
        with torch.no_grad():
            hidden_1LH = model(**encoded, output_hidden_states=True).hidden_states[-1]
        np.testing.assert_allclose(pooled_NH[k], hidden_1LH[0].mean(0).numpy(), rtol=1e-4, atol=1e-5)


def saved(folder: Path) -> Prototypes:
    pooled, domains, classes = drawn()
    kept = classes != 2
    seen = [name for name, keep in zip(domains, kept, strict=True) if keep]
    prototypes = Prototypes.of(pooled[kept], seen, classes[kept], LABELS, 0.25)
    prototypes.save(folder)
    return prototypes


def test_saved_and_loaded_scores_are_equal(tmp_path: Path) -> None:
    prototypes = saved(tmp_path)
    loaded = load_prototypes(tmp_path)
    assert (loaded.domains, loaded.labels, loaded.share) == (prototypes.domains, LABELS, 0.25)
    np.testing.assert_array_equal(loaded.vectors, prototypes.vectors)
    new, of, c = drawn(20, seed=2)
    np.testing.assert_array_equal(loaded.scores(new, of, c), prototypes.scores(new, of, c))
    assert sorted(path.suffix for path in (tmp_path / FOLDER).iterdir()) == [".json", ".safetensors"]


def one_line_of(folder: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load_prototypes(folder)
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2
    return str(refused.value)


def test_files_that_are_missing_or_damaged_are_one_line(tmp_path: Path) -> None:
    assert "has no prototypes (prepare it with `prepare: meta`)" in one_line_of(tmp_path)
    prototypes = saved(tmp_path)
    vectors, description = tmp_path / FOLDER / VECTORS, tmp_path / FOLDER / DESCRIPTION
    whole, text = vectors.read_bytes(), description.read_text(encoding="utf-8")
    plain = json.loads(text)
    vectors.write_bytes(whole[: len(whole) // 2])
    assert "its prototypes are damaged" in one_line_of(tmp_path)
    vectors.unlink()
    assert "its prototypes are damaged" in one_line_of(tmp_path)
    partly = prototypes.vectors.copy()
    partly[0, 0, 0] = np.nan
    save_file({"vectors": partly}, vectors)
    assert "numbers that are not finite" in one_line_of(tmp_path)
    save_file({"vectors": np.where(np.isnan(prototypes.vectors), np.inf, prototypes.vectors)}, vectors)
    assert "numbers that are not finite" in one_line_of(tmp_path)
    save_file({"vectors": prototypes.vectors[:2].copy()}, vectors)
    assert "shape (2, 3, 5) for 3 domains" in one_line_of(tmp_path)
    save_file({"other": prototypes.vectors}, vectors)
    assert "damaged" in one_line_of(tmp_path)
    vectors.write_bytes(whole)
    for broken in ("{", "[]", json.dumps(plain | {"format": 7}), json.dumps({"format": 1})):
        description.write_text(broken, encoding="utf-8")
        assert "damaged" in one_line_of(tmp_path)
    description.write_text(text, encoding="utf-8")
    assert load_prototypes(tmp_path).domains == prototypes.domains


def test_no_tensor_of_all_rows_domains_and_widths_is_formed() -> None:
    rng = np.random.default_rng(0)
    prototypes = Prototypes(tuple(f"d{k}" for k in range(8)), ("a", "b"), rng.normal(size=(8, 2, 64)), 0.5)
    rows = rng.normal(size=(5_000, 64))
    tracemalloc.start()
    prototypes.scores(rows, ["d3"] * 5_000, np.zeros(5_000, int))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows.nbytes * 8, "of the whole tensor"

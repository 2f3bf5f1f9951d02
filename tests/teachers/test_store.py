"""The store: what goes in comes out, and nothing that is damaged, foreign or half-written ever does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raykd.teachers.serving.store import Address, Store

ADDRESS = Address("weights", "tokenizer", "corpus", 64, "longest_first", "float32", (0, 1, 2), ("a", "b", "c"), 0)
IDS = np.array([5, 1, 9, 3])
LOGITS = np.arange(12, dtype=np.float32).reshape(4, 3)


def store(cache: Path, address: Address = ADDRESS) -> Store:
    return Store(cache, address, 3, "float32")


def rows(table: Any) -> dict[int, list[float]]:
    return {int(i): logits.tolist() for i, logits in zip(table.ids, table.values, strict=True)}


def sealed_store(cache: Path) -> Store:
    one = store(cache)
    one.append(IDS, LOGITS)
    one.seal()
    return one


EXPECTED = {int(i): row.tolist() for i, row in zip(IDS, LOGITS, strict=True)}


def test_segments_then_sealed(tmp_path: Path) -> None:
    one = store(tmp_path)
    assert one.sealed() is None
    one.append(IDS[:2], LOGITS[:2])
    one.append(IDS[2:], LOGITS[2:])
    assert rows(store(tmp_path).load()) == EXPECTED
    assert one.seal().tolist() == [1, 3, 5, 9]
    sealed = store(tmp_path).sealed()
    assert sealed is not None
    assert rows(sealed) == EXPECTED
    assert sealed.ids.tolist() == [1, 3, 5, 9]
    assert np.asarray(sealed.take(np.array([9, 1]))).tolist() == [EXPECTED[9], EXPECTED[1]]
    assert sealed.covers(np.array([1, 2, 9, 10, 0])).tolist() == [True, False, True, False, False]
    assert list(one.segments.glob("*.arrow")) == []


def test_the_first_answer_for_a_row_stands(tmp_path: Path) -> None:
    one = store(tmp_path)
    one.append(IDS, LOGITS)
    one.append(IDS, LOGITS + 100)
    assert rows(one.load()) == EXPECTED
    one.seal()
    one.append(np.array([1, 7]), np.array([[9, 9, 9], [7, 7, 7]], np.float32))
    assert rows(store(tmp_path).load()) == EXPECTED | {7: [7.0, 7.0, 7.0]}
    one.seal()
    assert rows(store(tmp_path).sealed()) == EXPECTED | {7: [7.0, 7.0, 7.0]}


def test_sealing_keeps_the_rows_of_another_writer(tmp_path: Path) -> None:
    store(tmp_path).append(np.array([20]), np.full((1, 3), 20, np.float32))
    sealed_store(tmp_path)
    assert rows(store(tmp_path).sealed()) == EXPECTED | {20: [20.0, 20.0, 20.0]}


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "others"},
        {"tokenizer": "other"},
        {"corpus": "other"},
        {"max_length": 32},
        {"dtype": "bfloat16"},
        {"columns": (1, 0, 2)},
        {"labels": ("a", "b", "d")},
        {"version": 1},
        {"output": "pooled"},
        {"format": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_teacher_or_corpus_is_another_store(tmp_path: Path, change: dict[str, Any]) -> None:
    sealed_store(tmp_path)
    other = store(tmp_path, replace(ADDRESS, **change))
    assert other.sealed() is None
    assert len(other.load().ids) == 0


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_sealed_table_is_not_read(tmp_path: Path, damage: str) -> None:
    (path,) = sealed_store(tmp_path).folder.glob("sealed-*.arrow")
    _damage(path, damage)
    assert store(tmp_path).sealed() is None
    assert len(store(tmp_path).load().ids) == 0
    sealed_store(tmp_path)  # computed again
    assert rows(store(tmp_path).sealed()) == EXPECTED


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_segment_costs_its_rows_only(tmp_path: Path, damage: str) -> None:
    one = store(tmp_path)
    one.append(IDS[:2], LOGITS[:2])
    (first,) = one.segments.glob("*.arrow")
    one.append(IDS[2:], LOGITS[2:])
    _damage(first, damage)
    assert rows(store(tmp_path).load()) == {9: EXPECTED[9], 3: EXPECTED[3]}


def test_a_damaged_manifest_and_drafts_are_no_data(tmp_path: Path) -> None:
    one = sealed_store(tmp_path)
    (one.folder / "manifest.json").write_text('{"file": "sea', encoding="utf-8")
    (one.folder / ".draft-x").write_bytes(b"half")
    assert store(tmp_path).sealed() is None
    sealed_store(tmp_path)
    assert json.loads((one.folder / "manifest.json").read_text(encoding="utf-8"))["rows"] == 4


def _damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncate":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)

"""The program of Meta-KD in folds: its folds, what each arm changes, and the differences that it prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import TINY_TEACHER, tiny_config

from raykd.config import MetaTeacherConfig, MultiTaskTeacherConfig, RunConfig, parse
from raykd.config.teachers import FinetunedTeacherConfig
from raykd.workloads import meta_kd
from raykd.workloads.draws import program
from raykd.workloads.meta_kd import ARMS, PLAIN, Cell, Parts, cells, overrides_of, table, write_folds

DOMAINS = ["books", "dvd", "kitchen"]


def plain(cache: Path) -> RunConfig:
    raw = tiny_config({"teachers": [{**TINY_TEACHER, "name": "meta", "prepare": "meta"}]}, cache)
    raw["data"]["generated"]["domains"] = 3
    raw["objective"] = {"type": "kl", "features": {"hidden": 1, "knowledge": 0.5, "expertise": True}}
    return parse(raw)


def test_every_row_is_tested_once_and_in_no_fold_trained_and_tested(tmp_path: Path) -> None:
    domains = write_folds(plain(tmp_path / "cache"), tmp_path, 3)
    parts = {
        (fold, name): set(pd.read_parquet(tmp_path / f"fold{fold}" / f"{name}.parquet")["text"])
        for fold in range(3)
        for name in ("train", "validation", "test")
    }
    tested = [text for fold in range(3) for text in parts[fold, "test"]]
    assert len(tested) == len(set(tested))
    for fold in range(3):
        everything = parts[fold, "train"] | parts[fold, "validation"] | parts[fold, "test"]
        assert everything == set(tested)
        assert sum(len(parts[fold, name]) for name in ("train", "validation", "test")) == len(everything)
    tests = [pd.read_parquet(tmp_path / f"fold{fold}" / "test.parquet") for fold in range(3)]
    counts = np.stack([test.groupby(["domain", "label"]).size().to_numpy() for test in tests])
    assert sorted(tests[0]["domain"].unique()) == domains
    assert np.ptp(counts, axis=0).max() <= 1  # each domain and label is spread evenly


@pytest.mark.parametrize("setting", ["all", "0.1", "leave_out"])
def test_each_arm_has_the_teacher_and_the_rows_that_it_says(tmp_path: Path, setting: str) -> None:
    base = plain(tmp_path)
    raw = base.model_dump(mode="json", by_alias=True)
    kinds: dict[str, type] = dict.fromkeys(["meta", "meta_features", "meta_logits"], MetaTeacherConfig)
    kinds |= dict.fromkeys(["multi_task", "multi_task_logits"], MultiTaskTeacherConfig)
    for arm in (*ARMS, PLAIN):
        if (setting == "leave_out" and arm == "single") or (arm == PLAIN and setting != "all"):
            continue
        config = parse(raw, overrides_of(Cell(setting, 1, "dvd", arm), base, DOMAINS))
        assert all(type(teacher) is kinds.get(arm, FinetunedTeacherConfig) for teacher in config.teachers)
        assert config.data.target_domain == (None if arm == PLAIN else "dvd")
        assert (config.seed, config.data.seed) == (1, 1)
        features = config.objective.features
        assert (features is None) == (arm in ("meta_logits", "multi_task_logits", "alone"))
        assert features is None or features.expertise == (arm == "meta")
        for teacher in config.teachers:
            assert isinstance(teacher, MetaTeacherConfig | MultiTaskTeacherConfig | FinetunedTeacherConfig)
            if setting == "leave_out" and arm != "several":
                assert teacher.leave_out == ["target"]
        assert config.data.fraction == (0.1 if setting == "0.1" else 1.0)
        assert (config.data.unlabeled is not None) == (setting == "0.1" and arm != "alone")
        if arm == "several":
            names = [domain for domain in DOMAINS if not (setting == "leave_out" and domain == "dvd")]
            assert config.teacher_names == [f"single_{name}" for name in names]
            assert features is not None
            assert features.teacher == (None if setting == "leave_out" else "single_dvd")


def test_cells_end_with_whole_folds_and_plain_is_trained_once() -> None:
    every = list(cells(["all", "leave_out"], 2, DOMAINS, [*ARMS, PLAIN]))
    assert len(every) == len(set(every)) == 2 * (3 * 9 + 1) + 2 * 3 * 8
    assert [cell.fold for cell in every if cell.setting == "all"] == [0] * 28 + [1] * 28


@pytest.mark.parametrize(
    ("option", "value"), [("--arms", "meta,mixd"), ("--only", "0,7"), ("--domains", "books,dwd")], ids=lambda each: each
)
def test_an_option_that_names_nothing_is_refused(
    tmp_path: Path, option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = tmp_path / "run.yaml"
    configured.write_text(yaml.safe_dump(plain(tmp_path / "cache").model_dump(mode="json", by_alias=True)))
    monkeypatch.setattr("sys.argv", ["meta_kd", str(configured), str(tmp_path / "out"), option, value])
    with pytest.raises(SystemExit) as ended:
        program(meta_kd.main)
    assert ended.value.code == 2
    assert f"meta_kd: {option}: there is no {value.split(',')[1]}" in capsys.readouterr().err


def test_the_table_pairs_rows_of_all_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds of 400 rows; `mixed` is wrong on 40 rows more, so the gain is 0.05 and its interval near ± 0.015."""
    rng, labels = np.random.default_rng(0), np.arange(400) % 2
    wrong = {(arm, fold): rng.choice(400, 40 + 20 * (arm == "mixed"), replace=False)
             for arm in ("meta", "mixed") for fold in (0, 1)}  # fmt: skip

    def answered(output: Path, cell: Cell, row_domains: np.ndarray) -> Parts:
        predicted = labels.copy()
        predicted[wrong[cell.arm, cell.fold]] ^= 1
        return {(cell.fold, cell.domain): pd.DataFrame({"label": labels, "predicted": predicted})}

    monkeypatch.setattr(meta_kd, "answers", answered)
    done = [Cell("all", fold, "dvd", arm) for fold in (0, 1) for arm in ("meta", "mixed")]
    rows = table(tmp_path, done, {0: labels, 1: labels})["all"]
    assert rows["meta"]["all"] == pytest.approx(0.9)
    assert "gain" not in rows["meta"]
    assert rows["mixed"]["gain"] == pytest.approx(0.05)
    assert rows["mixed"]["folds"] == pytest.approx([0.05, 0.05])
    low, high = rows["mixed"]["interval"]
    assert 0.01 < low < 0.05 < high < 0.09
    assert rows["mixed"]["common_rows"] == rows["mixed"]["rows"] == 800

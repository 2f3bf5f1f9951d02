"""Configuration: every mistake is one line that names the key and the mend; overrides reach every depth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raykd import config as configuration
from raykd.config import ModelTeacherConfig
from raykd.errors import ConfigError

WORKLOADS = sorted((Path(__file__).parents[2] / "workloads").glob("*.yaml"))


def raw() -> dict[str, Any]:
    return {"data": "generated", "teachers": ["some/model"], "student": "some/model"}


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.name)
def test_every_workload_is_valid(path: Path) -> None:
    assert configuration.load(path).teachers


def test_there_are_workloads() -> None:
    assert "quickstart.yaml" in {path.name for path in WORKLOADS}


def test_overrides_reach_sections_lists_and_shorthands() -> None:
    config = configuration.parse(
        raw(),
        ["student.layers=2", "teachers.0.replicas=3", "train.lr=1e-4", "objective=mse", "train.max_grad_norm=null"],
    )
    assert (config.student.from_, config.student.layers) == ("some/model", 2)
    assert isinstance(config.teachers[0], ModelTeacherConfig)
    assert config.teachers[0].model.from_ == "some/model"
    assert (config.teachers[0].replicas, config.train.lr, config.objective.type) == (3, 1e-4, "mse")
    assert config.train.max_grad_norm is None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epoch=2", "train.epoch: unknown key (did you mean epochs?)"),
        ("studen.layers=2", "studen.layers: unknown key (did you mean student?)"),
        ("teachers.0.modle=x", "teachers.0.modle: unknown key (did you mean model?)"),
        ("teachers.3.replicas=2", "teachers has no item 3"),
        ("train.lr=-1", "train.lr: input should be greater than 0, got -1"),
        ("student.layers=two", "student.layers"),
        ("epochs", "is not KEY=VALUE"),
        ("task.metric=pearson", "metric pearson does not fit classification"),
        ("weighting=fixed", "weighting.weights: is missing"),
        ("student.heads=2", "a checkpoint brings its own"),
        ("train.min_workers=2", "min_workers: 2 are more than workers, 1"),
        ("train={workers: 4, min_workers: 2}", "min_workers: needs worker_resources that only workers ask for"),
        ("teachers=[]", "at least one is needed"),
        ("data.quiz=0.96", "data.quiz"),
    ],
)
def test_mistakes_are_one_line(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration.parse(raw(), [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["train.epochs=x"], "override train.epochs: "),
        (["weighting={type: policy, lr: x}"], "override weighting: weighting.lr: "),
        (["train.lr=1", "train.lr=-1"], "override train.lr: "),
        (["train.clip=1"], "override train.clip: "),
        (["train.lr=1"], "my.yaml: train.batch_size: "),
    ],
)
def test_a_mistake_is_where_it_was_written(overrides: list[str], where: str) -> None:
    written = raw() if "my.yaml" not in where else {**raw(), "train": {"batch_size": 0}}
    with pytest.raises(ConfigError) as caught:
        configuration.parse(written, overrides, "my.yaml")
    assert str(caught.value).startswith(where)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        configuration.load(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\nb: {", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read as YAML") as caught:
        configuration.load(broken)
    assert "\n" not in str(caught.value)


def test_saved_is_loaded_the_same(tmp_path: Path) -> None:
    config = configuration.parse(raw(), ["student.layers=[0, 2]", "data.quiz=0.1"])
    configuration.save(config, tmp_path / "config.yaml")
    again = configuration.load(tmp_path / "config.yaml")
    assert again == config
    assert configuration.changed_key(config, again) is None


def test_a_changed_key_is_named_and_the_place_does_not_count() -> None:
    before = configuration.parse(raw())
    assert configuration.changed_key(before, configuration.parse(raw(), ["train.lr=3e-5"])) == "train.lr"
    assert configuration.changed_key(before, configuration.parse(raw(), ["teachers.0.labels=[a, b]"])) == (
        "teachers.0.labels"
    )
    elsewhere = ["cluster.address=ray:1", "cache=x", "teachers.0.replicas=2", "train.worker_resources={slot: 1}"]
    assert configuration.changed_key(before, configuration.parse(raw(), elsewhere)) is None


def test_configuration_needs_neither_torch_nor_ray() -> None:
    code = "import sys, raykd.config; print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_lays_its_keys_over_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "name: base\ndata: {source: generated, max_length: 64}\nteachers: [some/model, other/model]\n"
        "student: some/model\nweighting: {type: policy, lr: 0.5}\n"
    )
    (tmp_path / "below.yaml").write_text("extends: base.yaml\nname: below\nweighting: oracle\ndata: {max_length: 32}\n")
    (tmp_path / "top.yaml").write_text("extends: below.yaml\nteachers: [third/model]\n")
    config = configuration.load(tmp_path / "top.yaml", ["train.lr=0.1"])
    assert (config.name, config.weighting.type, config.train.lr) == ("below", "oracle", 0.1)
    assert (config.data.source, config.data.max_length) == ("generated", 32)
    assert [t.model.from_ for t in config.teachers if isinstance(t, ModelTeacherConfig)] == ["third/model"]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("extends: second.yaml", "extends: first.yaml", "break the circle"),
        ("extends: third.yaml", "", "third.yaml: no such configuration file"),
        ("extends: [second.yaml]", "", "is not the path of a YAML file"),
        ("extends: second.yaml\nnmae: x", "data: generated\nteachers: [m]\nstudent: m", "did you mean name?"),
    ],
)
def test_extending_what_cannot_be_is_one_line(tmp_path: Path, first: str, second: str, says: str) -> None:
    (tmp_path / "first.yaml").write_text(first)
    (tmp_path / "second.yaml").write_text(second)
    with pytest.raises(ConfigError) as error:
        configuration.load(tmp_path / "first.yaml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)

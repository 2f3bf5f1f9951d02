"""YAML: numbers as people write them, and a line with its place for every text that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raykd import config as configuration
from raykd.config.yaml_file import read_yaml, read_yaml_file, yaml_text
from raykd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("[1E5, 1.e3, .5e1, -1e+3]", [1e5, 1e3, 5.0, -1e3]),
        ("{choice: [1e-4, 2]}", {"choice": [1e-4, 2]}),
        ("'1e-4'", "1e-4"),
        ("1e-4x", "1e-4x"),
        ("2024-13-45", "2024-13-45"),
        ("18446744073709551615", 2**64 - 1),
        ("", None),
        ("a: &x {k: 1, j: 2}\nb: {<<: *x, k: 3}", {"a": {"k": 1, "j": 2}, "b": {"k": 3, "j": 2}}),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert read_yaml(text, "x") == value


def aliases(first: str, more: str) -> str:
    """Nine lines, each of which stands for ten times as much as the one before it."""
    lines = [f"a: &a {first}"]
    lines += [
        f"{name}: &{name} " + more.format(",".join([f"*{before}"] * 10))
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(lines)


BAD = [
    ("a: 1\nb: 2\na: 3", "f.yaml, line 3, column 1: cannot be read as YAML: the key 'a' is given twice"),
    ("a: [1,\nb: {", "line 2, column 5: cannot be read as YAML: expected the node content"),
    ("a: .inf", "line 1, column 4: cannot be read as YAML: '.inf' is not a finite number"),
    ("a: .nan", "'.nan' is not a finite number"),
    ("a: 1e999", "'1e999' is not a finite number"),
    ("a: " + "9" * 5000, "does not fit in 64 bits"),
    ("a: 18446744073709551616", "does not fit in 64 bits"),
    ("a: 0x_", "'0x_' is no integer"),
    ("[" * 1000 + "]" * 1000, "column 101: cannot be read as YAML: nests more than 100 deep"),
    ("\n".join(" " * depth + "a:" for depth in range(1000)), "line 100, column 100"),
    ("a: &a [*a]", "an alias must not stand in what it names"),
    (aliases("[1]", "[{}]"), "stands for more than 100000 values"),
    (aliases("{k: 1}", "{{<<: [{}]}}"), "stands for more than 100000 values"),
    ("a: !!python/object:os.x 1", "could not determine a constructor for the tag"),
    ("a: !!binary aaaa", "could not determine a constructor for the tag"),
    ("a: !!bool maybe", "'maybe' is neither true nor false"),
    ("a: 1\n---\nb: 2", "expected a single document"),
    ("? [a]\n: 1", "unhashable key"),
    ("a: 1\nb: \x07", "line 2: cannot be read as YAML: character 9 (#x0007) cannot stand in YAML"),
    ('a: "\\0"', "holds a NUL"),
    ('a: "\\ud800"', "half a surrogate pair"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_cannot_be_used_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_yaml(text, "f.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("f.yaml, line ")
    assert "\n" not in str(refused.value)
    assert refused.value.mend


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml, line 2: cannot be read as YAML: byte 0xe9 is not UTF-8"):
        read_yaml_file(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_yaml_file(tmp_path)


@pytest.mark.parametrize("value", [{"a": "1e5", "b": 1e-7, "c": "2024-01-01", "d": ["1", "yes", None, 1e22, ""]}])
def test_what_is_written_is_read_the_same(value: Any) -> None:
    assert read_yaml(yaml_text(value), "x") == value


INFINITE = float("inf")
RANGES = {"space": {"train.lr": {"uniform": [0.1, INFINITE]}}}
CHOICES = {"space": {"weighting": {"choice": [{"type": "policy", "lr": float("nan")}]}}}


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"train": {"epochs": INFINITE}}, "train.epochs"),
        ({"train": {"epochs": "inf"}}, "train.epochs"),
        ({"train": {"worker_resources": {"slot": INFINITE}}}, "train.worker_resources.slot"),
        ({"weighting": {"type": "fixed", "weights": [INFINITE]}}, "weighting.weights.0"),
        ({"study": RANGES}, "study.space.train.lr"),
        ({"study": CHOICES}, "study.space.weighting"),
    ],
)
def test_a_number_of_a_configuration_is_finite(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match="finite number") as refused:
        configuration.parse({"data": "generated", "teachers": ["some/model"], "student": "some/model"} | keys)
    assert key in str(refused.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr={a: 1, a: 2}", "override train.lr, line 1, column 8: cannot be read as YAML: the key 'a'"),
        ("teachers." + "9" * 5000 + ".replicas=1", "teachers has no item 9999"),
        ("seed=4294967296", "seed: input should be less than 4294967296"),
        ("data.seed=4294967296", "data.seed: input should be less than 4294967296"),
        (
            "teachers.0={model: some/model, prepare: finetune, finetune: {seed: 4294967296}}",
            "input should be less than 4294967296",
        ),
        ("name=" + "a" * 101, "name: string should have at most 100 characters"),
        ("teachers.0.name=" + "a" * 101, "teachers.0.name: string should have at most 100 characters"),
        ("name=..", "name: string should match pattern"),
        ("cluster.address=nonsense", "cluster.address: 'nonsense' is no address of a Ray cluster"),
        ("cluster.address=http://head:8265", "is no address of a Ray cluster"),
        ("cluster.address=head:99999", "is no address of a Ray cluster"),
    ],
)
def test_overrides_that_cannot_be_used(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configuration.parse({"data": "generated", "teachers": ["some/model"], "student": "some/model"}, [override])
    assert message in str(refused.value)


@pytest.mark.parametrize("address", ["auto", "local", "head:6379", "10.0.0.1:6379", "ray://head:10001", "[::1]:6379"])
def test_addresses_that_ray_takes(address: str) -> None:
    raw = {"data": "generated", "teachers": ["some/model"], "student": "some/model", "cluster": {"address": address}}
    assert configuration.parse(raw).cluster.address == address

"""The domains of a data set and the run of each; what cannot be used is one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_TEACHER, Configure, tiny_config

from raykd import api
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.domains.plan import folder_names, plan_domains
from raykd.errors import ConfigError, DataError
from raykd.records.events import DomainsPlanEvent
from raykd.records.log import MetricsLog
from raykd.run.folder import RunFolder

THREE = ["data.generated.domains=3"]
LEAVES_OUT = [{**TINY_TEACHER, "leave_out": ["target"]}]


def each_domain(shared_cache: Path, *overrides: str, **changes: Any) -> RunConfig:
    return configuration.parse(tiny_config(changes, shared_cache), overrides, each_domain=True)


def test_each_domain_has_the_run_that_distill_has_with_it_as_target(shared_cache: Path, tmp_path: Path) -> None:
    config = each_domain(shared_cache, *THREE, teachers=LEAVES_OUT)
    runs = plan_domains(config, tmp_path)
    assert [run.domain for run in runs] == ["books", "electronics", "kitchen"]
    for run in runs:
        alone = configuration.parse(
            tiny_config({"teachers": LEAVES_OUT, "name": f"tiny-{run.domain}"}, shared_cache),
            [*THREE, f"data.target_domain={run.domain}"],
        )
        assert configuration.changed_key(alone, run.config) is None
        assert run.folder.path == tmp_path / run.domain
        assert set(run.corpus.rows("train").domains(run.corpus.ids["train"]) or []) == {run.domain}
    assert [run.domain for run in plan_domains(config, tmp_path, ["kitchen", "books"])] == ["kitchen", "books"]


def test_a_budget_that_leaves_a_domain_out_does_not_hide_it(shared_cache: Path, tmp_path: Path) -> None:
    """Two labels of all rows are of two domains at most; each domain has a budget of two of its own."""
    config = each_domain(shared_cache, *THREE, "data.max_train_rows=2", "data.unlabeled=rest")
    runs = plan_domains(config, tmp_path)
    assert [len(run.corpus.ids["train"]) for run in runs] == [2, 2, 2]


def test_a_teacher_may_name_the_target_domain_only_where_there_will_be_one(shared_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.target_domain, which is not set.*raykd domains"):
        configuration.parse(tiny_config({"teachers": LEAVES_OUT}, shared_cache))
    config = each_domain(shared_cache, teachers=LEAVES_OUT)
    folder = RunFolder(tmp_path / "out")
    with folder.claimed(config):
        folder.write_config(config)
    with folder.claimed(config):
        pass
    changed = each_domain(shared_cache, "train.lr=1e-3", teachers=LEAVES_OUT)
    with pytest.raises(ConfigError, match=r"whose train\.lr differs"), folder.claimed(changed):
        pass


def test_folders_are_names_of_domains_or_have_a_hash() -> None:
    domains = ["books", "Home & Garden", "Home/Garden", "../up", "teachers", "Toys", "toys", "x" * 60]
    names = folder_names(domains)
    assert names["books"] == "books"
    assert len({name.casefold() for name in names.values()}) == len(domains)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names.values())
    assert names["teachers"] != "teachers"
    assert names == folder_names(domains)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.target_domain=books"], r"data\.target_domain: is set, and raykd domains sets it"),
        (["data.domains=[books]"], r"data\.domains: filters the rows of the teachers"),
        (["study={space: {train.lr: {choice: [1e-3]}}}"], "study: raykd domains trains one student for each domain"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    configure: Configure, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        api.domains(configure(*overrides), tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["book"], r"no row of the domain 'book' \(did you mean books\? its domains are books, electronics\)"),
        (["books", "books"], r"--domains: 'books' is given twice"),
        ([""], "no row of the domain ''"),
    ],
)
def test_unknown_domains_are_one_line(configure: Configure, tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as refused:
        api.domains(configure(), tmp_path / "out", names)
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_rows_without_domains_are_one_line(shared_cache: Path, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = "\n".join(f"{'good' if k % 2 else 'bad'} {k},{k % 2}" for k in range(20))
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    config = each_domain(shared_cache, data={"source": str(tmp_path), "max_length": 16})
    with pytest.raises(DataError, match=r"no column of domains \(name it as data\.domain\)"):
        api.domains(config, tmp_path / "out")


def test_a_domain_that_cannot_be_trained_is_known_before_anything_runs(shared_cache: Path, tmp_path: Path) -> None:
    """The other domain's validation rows are missing."""
    for split in ("train", "validation"):
        domains = ["a", "b"] if split == "train" else ["a"]
        rows = "\n".join(f"good {k},{k % 2},{domain}" for k in range(20) for domain in domains)
        (tmp_path / f"{split}.csv").write_text(f"text,label,domain\n{rows}\n", encoding="utf-8")
    config = each_domain(shared_cache, data={"source": str(tmp_path), "max_length": 16})
    with pytest.raises(DataError, match="no row of the domain 'b'"):
        api.domains(config, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_folder_of_other_domains_or_of_a_run_is_refused(configure: Configure, tmp_path: Path) -> None:
    config, folder = configure(), tmp_path / "out"
    plan = DomainsPlanEvent(metric="accuracy", concurrency=1, domains={"books": "books"}, named=True)
    MetricsLog(folder / "metrics.jsonl").write(plan)
    configuration.save(config, folder / "config.yaml")
    for names in (None, ["electronics"], ["books", "electronics"]):
        with pytest.raises(ConfigError, match=r"holds the students of the domains books: --domains differs") as refused:
            api.domains(config, folder, names)
        assert refused.value.status == 2
    (tmp_path / "run" / "start").mkdir(parents=True)
    configuration.save(config, tmp_path / "run" / "config.yaml")
    with pytest.raises(ConfigError, match="holds an unfinished run"):
        api.domains(config, tmp_path / "run")

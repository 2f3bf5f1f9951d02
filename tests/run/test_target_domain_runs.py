"""A student of one domain whose teachers have seen all: the rows of each, one teacher for all domains, the accounts."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tiny import TINY_TEACHER, Configure

from raykd import api
from raykd.config import RunConfig, TeacherConfig, TrainedTeacherConfig
from raykd.data.corpus import Corpus
from raykd.display.tables import plan_table
from raykd.errors import ConfigError, DataError
from raykd.records.log import MetricsLog
from raykd.run.context import RunContext, open_corpus
from raykd.run.folder import RunFolder
from raykd.run.weighting_inputs import folds_of, without_rows
from raykd.teachers import finetune
from raykd.teachers.rows import teacher_rows

pytestmark = pytest.mark.usefixtures("ray_local")

DOMAINS = ["books", "electronics", "kitchen"]
THREE = ["data.generated.domains=3", "data.generated.test_rows=60", "data.test=test"]
FEW = ["data.max_train_rows=24", "data.unlabeled=rest"]


def teacher(**keys: Any) -> dict[str, Any]:
    return {**TINY_TEACHER, **keys}


def rows_read(corpus: Corpus, **keys: Any) -> tuple[set[int], set[int]]:
    """Ids of train and validation that a teacher of these keys reads."""
    config = TeacherConfig.of(teacher(**keys))
    train, validation = (teacher_rows(split, config, corpus).ids.tolist() for split in ("train", "validation"))
    return set(train), set(validation)


def fingerprint(config: RunConfig, folder: Path) -> str:
    corpus, task = open_corpus(config)
    context = RunContext(
        config, RunFolder(folder), corpus, task, False, threading.Event(), MetricsLog(folder / "metrics.jsonl")
    )
    (settings,) = config.teachers
    assert isinstance(settings, TrainedTeacherConfig)
    return finetune._fingerprint(finetune.recipe_of("t", settings, task, context.corpus, 24))


def test_one_teacher_serves_all_target_domains_without_a_budget(configure: Configure, tmp_path: Path) -> None:
    def differing(*overrides: str, **keys: Any) -> int:
        configs = [
            configure(*THREE, f"data.target_domain={name}", *overrides, teachers=[teacher(**keys)]) for name in DOMAINS
        ]
        return len({fingerprint(config, tmp_path / "run") for config in configs})

    assert differing() == 1
    assert differing(finetune={**TINY_TEACHER["finetune"], "max_train_rows": 100}) == 1
    assert differing(domains=["books"]) == 1
    assert differing("data.max_train_rows=24") == 3
    assert differing("data.quiz=0.1") == 3
    assert differing(leave_out=["target"]) == 3
    plain = fingerprint(configure(*THREE), tmp_path / "run")
    assert plain == fingerprint(configure(*THREE, "data.target_domain=books"), tmp_path / "run")
    configs = [configure(*THREE, f"data.target_domain={name}", cache=tmp_path / "cache") for name in DOMAINS]
    folders = [api.teach(config, tmp_path / name)[0]["folder"] for name, config in zip(DOMAINS, configs, strict=True)]
    assert len(set(folders)) == 1
    assert [(tmp_path / name / "teachers" / "teacher0.jsonl").exists() for name in DOMAINS] == [True, False, False]


def test_the_rows_of_teachers_by_domain_and_budget(configure: Configure) -> None:
    corpus, _ = open_corpus(configure(*THREE, *FEW, "data.target_domain=kitchen"))
    domain = np.array(corpus.rows("train").domains(np.arange(240)))
    validation = np.array(corpus.rows("validation").domains(np.arange(80)))
    budget = set(corpus.ids["train"].tolist())

    def of(*names: str) -> set[int]:
        return set(np.flatnonzero(np.isin(domain, names)).tolist())

    def scored(*names: str) -> set[int]:
        return set(np.flatnonzero(np.isin(validation, names)).tolist())

    assert len(budget) == 24
    assert budget < of("kitchen")
    assert rows_read(corpus) == (budget | of("books", "electronics"), set(range(80)))
    assert rows_read(corpus, leave_out=["target"]) == (of("books", "electronics"), scored("books", "electronics"))
    assert rows_read(corpus, domains=["target"]) == (budget, scored("kitchen"))
    assert rows_read(corpus, domains=["target", "books"]) == (budget | of("books"), scored("kitchen", "books"))
    assert rows_read(corpus, leave_out=["books"]) == (budget | of("electronics"), scored("kitchen", "electronics"))
    own, _ = rows_read(corpus, finetune={**TINY_TEACHER["finetune"], "max_train_rows": 1000})
    assert own == budget | of("books", "electronics"), "a budget of its own reaches nothing beyond the target's"
    labels = teacher_rows("train", TeacherConfig.of(teacher()), corpus).labels()
    assert set(labels.tolist()) == {0, 1}, "the rows of other domains have their labels"


def test_a_copy_for_cross_fitting_has_no_row_of_its_fold(configure: Configure) -> None:
    corpus, _ = open_corpus(configure(*THREE, "data.max_train_rows=24", "data.target_domain=kitchen"))
    folds = folds_of(corpus, corpus.ids["train"], 2, 0)
    held_out = corpus.ids["train"][folds == 0]
    whole, rest = rows_read(corpus)[0], rows_read(without_rows(corpus, held_out))[0]
    assert whole - rest == set(held_out.tolist())


@pytest.mark.slow
def test_a_run_is_scored_on_the_target_domain_alone(configure: Configure, tmp_path: Path) -> None:
    teachers = [teacher(name="every"), teacher(name="others", leave_out=["target"])]
    config = configure(
        *THREE, *FEW, "data.target_domain=electronics", teachers=teachers, baselines=["alone", "labeled", "pseudo"]
    )
    corpus, task = open_corpus(config)
    result = api.distill(config, tmp_path / "run")
    answers = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert set(answers["arm"]) == {"student", "alone", "labeled", "pseudo", "every", "others"}
    for (arm, split), part in answers.groupby(["arm", "split"]):
        ids = part["id"].to_numpy()
        assert set(corpus.rows(str(split)).domains(ids) or []) == {"electronics"}, (arm, split)
        right = (part["label"] == part["prediction"]).mean()
        scores = {"student": (result.scores, result.test)}
        scores |= {name: (baseline.scores, baseline.test) for name, baseline in result.baselines.items()}
        scores |= {entry.name: (entry.scores, entry.test) for entry in result.teachers}
        assert (scores[str(arm)][split == "test"] or {})["accuracy"] == pytest.approx(right), (arm, split)
    every = np.array(corpus.rows("validation").domains(np.arange(80)))
    own, elsewhere = int((every == "electronics").sum()), int((every != "electronics").sum())
    domain = np.array(corpus.rows("train").domains(np.arange(240)))
    others = int((domain != "electronics").sum())
    assert {name: used.rows for name, used in result.splits.items()} == {
        "train": 24, "unlabeled": 240 - others - 24, "validation": own, "test": len(corpus.ids["test"]),
    }  # fmt: skip
    assert result.data.target_domain == "electronics"
    student = result.budgets["student"]
    assert student.read == {
        "student": 24,
        "teacher every": 24 + others,
        "teacher others": others,
        "choice of checkpoint": own,
        "choice of a teacher's checkpoint, other domains": elsewhere,
    }
    assert student.total == 24 + others + 80
    assert result.budgets["alone"].read == {"student": 24, "choice of checkpoint": own}
    assert result.budgets["labeled"].read == student.read
    assert result.seen == {"every": ["train of all domains"], "others": ["train of all domains but electronics"]}
    assert result.splits["train"].used_for == ["student", "teachers"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The rows of the student and of all scores are those of the domain electronics." in page
    assert "training rows of the domain electronics" in (tmp_path / "run" / "student" / "README.md").read_text()
    assert task.classes == 2


def test_the_plan_has_the_domain_and_all_rows(configure: Configure) -> None:
    teachers = [teacher(name="every"), teacher(name="others", leave_out=["target"])]
    plan = api.check(configure(*THREE, *FEW, "data.target_domain=books", teachers=teachers))
    corpus, _ = open_corpus(configure(*THREE))
    others = sum(name != "books" for name in corpus.rows("train").domains(np.arange(240)) or [])
    assert plan["target_domain"] == "books"
    assert plan["rows"]["train"] == 24
    assert [entry["train_rows"] for entry in plan["teachers"]] == [24 + others, others]
    assert plan["teachers"][0]["validation_rows"] == 80
    assert plan["teachers"][0]["steps_per_epoch"] == -(-(24 + others) // 32)
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_table(plan))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for part in ("Rows of the domain books: train 24", f"teacher others, fine-tuned on {others} rows"):
        assert part in printed
    assert api.check(configure())["target_domain"] is None


@pytest.mark.parametrize(
    ("keys", "overrides", "message"),
    [
        ({"leave_out": ["target"]}, [], "leave_out of teacher0: target is data.target_domain, which is not set"),
        ({"domains": ["target"]}, [], "domains of teacher0: target is data.target_domain, which is not set"),
        ({"leave_out": ["books"], "domains": ["books"]}, [], "leave_out: domains names all that it learns from"),
        ({}, ["data.target_domain=books", "data.domains=[books]"], "target_domain: domains filters the rows"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    configure: Configure, keys: dict[str, Any], overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        configure(*overrides, teachers=[teacher(**keys)])
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2


@pytest.mark.parametrize(
    ("keys", "overrides", "message"),
    [
        ({}, ["data.target_domain=book"], r"no row of the domain 'book'.*did you mean books\?"),
        ({"leave_out": ["kitchens"]}, [], r"no row of the domain 'kitchens'.*did you mean kitchen\?"),
        ({"leave_out": DOMAINS}, [], "leave_out of a teacher: no row is left"),
        (
            {"leave_out": ["target"]},
            ["data.target_domain=books", "data.validation_from_train=0.2"],
            "split train: leave_out of a teacher: no row is left without the domain books",
        ),
    ],
)
def test_what_the_data_has_not_is_refused_by_check(
    configure: Configure, keys: dict[str, Any], overrides: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        api.check(configure(*THREE, *overrides, teachers=[teacher(**keys)]))
    assert "\n" not in str(refused.value)

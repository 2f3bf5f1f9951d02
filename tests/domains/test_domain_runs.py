"""Whole students of two domains on real Ray: equal to runs of their own, teachers' rows computed once, what fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from logs import events
from processes import finish, write_config
from tiny import TINY_TEACHER, tiny_config

from raykd import api
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.domains.plan import plan_domains
from raykd.errors import ConfigError, RunError
from raykd.records.domains_state import DomainsState
from raykd.records.predictions import read_predictions
from raykd.records.run_result import RunResult
from raykd.run.folder import RunFolder

pytestmark = pytest.mark.usefixtures("ray_local")

DOMAINS = ["books", "electronics"]
TEST = ["data.generated.test_rows=60", "data.test=test"]


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["shared", "and one for each"])
def test_the_students_of_all_domains_are_those_of_runs_of_their_own(tmp_path: Path, ensemble: str) -> None:
    """With dropout, so that steps and seeds must be equal too. A teacher of both domains computes each row once; of one
    that leaves the target out there are two, and each computes the rows of its domain."""
    teachers = [dict(TINY_TEACHER)]
    expected = [("teacher0", DOMAINS)]
    if ensemble != "shared":
        teachers.append({**TINY_TEACHER, "name": "others", "leave_out": ["target"]})
        expected += [("others", ["books"]), ("others", ["electronics"])]
    raw = tiny_config({"teachers": teachers, "baselines": ["alone"]}, tmp_path / "cache")
    raw["student"]["dropout"], raw["train"]["epochs"] = 0.1, 1
    config = configuration.parse(raw, TEST, each_domain=True)
    result = api.domains(config, tmp_path / "out")
    rows = 240 + 80 + 60
    assert [(entry.name, entry.domains) for entry in result.teachers] == expected
    shared, *own = [entry.rows_computed for entry in result.teachers]
    assert (shared, sum(own)) == (rows, rows if own else 0)
    assert result.teachers[0].forwards == rows
    assert all(entry.rows_reused == 0 for entry in result.teachers)
    apart: dict[str, RunResult] = {}
    for domain in DOMAINS:
        alone = configuration.parse({**raw, "name": f"tiny-{domain}"}, [*TEST, f"data.target_domain={domain}"])
        apart[domain] = api.distill(alone, tmp_path / "apart" / domain)
        folder = tmp_path / "out" / domain
        here, there = (path / "predictions.parquet" for path in (folder, tmp_path / "apart" / domain))
        pd.testing.assert_frame_equal(pd.read_parquet(here), pd.read_parquet(there))
        finished = api.distill(alone, folder)  # an ordinary run's folder, whose result is returned
        assert (finished.value, finished.test) == (apart[domain].value, apart[domain].test)
        assert all(entry.rows_computed == 0 for entry in finished.teachers)
        for name in ("report.html", "config.yaml", "student/README.md", "student/config.json"):
            assert (folder / name).exists(), name
    check_values(tmp_path / "out", apart)
    stamp = (tmp_path / "out" / "result.json").stat().st_mtime_ns
    assert api.domains(config, tmp_path / "out") == result
    assert (tmp_path / "out" / "result.json").stat().st_mtime_ns == stamp


def check_values(folder: Path, apart: dict[str, RunResult]) -> None:
    """result.json against the results of the runs and the answers of all rows."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (result["kind"], result["schema_version"], result["split"]) == ("domains", 1, "test")
    right: dict[str, list[np.ndarray]] = {}
    for domain, run in apart.items():
        entry = result["domains"][domain]
        assert entry["student"] == run.reported_value(run)
        assert entry["baselines"] == {"alone": run.reported_value(run.baselines["alone"])}
        assert entry["teachers"] == {teacher.name: run.reported_value(teacher) for teacher in run.teachers}
        assert (entry["rows"], entry["folder"]) == (run.splits["test"].rows, domain)
        for (arm, split), answers in read_predictions(folder / domain).items():
            if split == "test":
                right.setdefault(arm, []).append(answers.predicted == answers.labels)
    assert result["rows"] == 60
    means: dict[str, Callable[[list[np.ndarray]], float]] = {
        "macro": lambda parts: float(np.mean([part.mean() for part in parts])),
        "micro": lambda parts: float(np.concatenate(parts).mean()),
    }
    for mean, of in means.items():
        values = result[mean]
        found = {"student": values["student"], **values["baselines"], **values["teachers"]}
        assert found == pytest.approx({arm: of(parts) for arm, parts in right.items()})
        gain = values["differences"]["alone"]
        assert gain["value"] == pytest.approx(values["student"] - values["baselines"]["alone"])
        assert gain["interval"][0] <= gain["value"] <= gain["interval"][1]


def spoil(config: RunConfig, out: Path, domain: str) -> Path:
    """A folder as a killed session leaves it, in which a domain's untrained student is damaged; returns that."""
    whole = RunFolder(out)
    with whole.claimed(config):
        whole.write_config(config)
    (run,) = [run for run in plan_domains(config, out) if run.domain == domain]
    with run.folder.claimed(run.config):
        run.folder.write_config(run.config)
    (run.folder.path / "start").mkdir()
    (run.folder.path / "start" / "config.json").write_text("{", encoding="utf-8")
    return run.folder.path / "start"


@pytest.mark.slow
def test_a_domain_that_fails_does_not_keep_the_others_from_finishing(tmp_path: Path) -> None:
    config, out = configuration.parse(tiny_config({}, tmp_path / "cache"), ["train.epochs=1"]), tmp_path / "out"
    damaged = spoil(config, out, "books")
    with pytest.raises(RunError, match=r"^domain books: .*start.*finished domains are kept\)$") as failed:
        api.domains(config, out)
    assert "\n" not in str(failed.value)
    assert failed.value.status == 1
    state = DomainsState.read(out)
    assert {name: domain.state for name, domain in state.all.items()} == {"books": "failed", "electronics": "done"}
    assert str(damaged) in state.all["books"].reason
    assert not (out / "result.json").exists()
    assert "1 of 2 domains are finished" in api.report(out).read_text(encoding="utf-8")
    stamp = (out / "electronics" / "result.json").stat().st_mtime_ns
    shutil.rmtree(damaged)
    result = api.domains(config, out)
    assert (out / "electronics" / "result.json").stat().st_mtime_ns == stamp
    assert list(result.domains) == DOMAINS
    assert [entry.rows_computed for entry in result.teachers] == [240 + 80]  # of the first session
    assert [event.domain for event in events(out, "domain_started")] == [*DOMAINS, "books"]
    assert result.micro.differences == {}
    with pytest.raises(ConfigError, match="holds the students of several domains, not a run"):
        api.distill(config, out)
    with pytest.raises(ConfigError, match=r"holds the students of several domains and no run.*give .*/books"):
        api.compare([out])


@pytest.mark.nightly
def test_students_of_two_workers_each_through_ray_train(tmp_path: Path) -> None:
    """Each domain's run has a Ray Train run of its own inside its task; the places of Ray hold one at a time."""
    train = {"epochs": 1, "batch_size": 32, "lr": 2e-3, "workers": 2, "threads": 1}
    path = write_config(tmp_path, train=train, cluster={"num_cpus": 4, "object_store_mb": 128})
    result = finish("domains", path, tmp_path / "out", seconds=300)
    assert list(result["domains"]) == DOMAINS
    assert result["concurrency"] == 1


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_policy_feedback_and_a_tuned_teacher_in_each_domain(tmp_path: Path) -> None:
    """What a run starts within its task: a policy's process, teachers that learn, services of tuned ones."""
    rewarded = {"type": "policy", "reward": {"every": 2}, "student_warmup": 1, "policy_warmup": 2, "cross_fit": 2}
    changes = {
        "weighting": rewarded,
        "feedback": {"type": "metadistil", "every": 2, "teacher_lr": 1e-3},
        "baselines": ["quiz_teacher"],
    }
    config = configuration.parse(tiny_config(changes, tmp_path / "cache"), each_domain=True)
    result = api.domains(config, tmp_path / "out")
    for domain in DOMAINS:
        run = json.loads((tmp_path / "out" / domain / "result.json").read_text(encoding="utf-8"))
        assert run["feedback"]["rounds"] > 0
        assert run["weighting"]["updates"] > 0
        assert run["baselines"]["quiz_teacher"]["rows_computed"] > 0
    assert set(result.micro.baselines) == {"quiz_teacher"}


@pytest.mark.slow
def test_domains_share_a_service_whose_features_are_not_stored(tmp_path: Path) -> None:
    """Both students ask the same service while they train: the one that is done first must not end it."""
    teacher = {**TINY_TEACHER, "model": {**TINY_TEACHER["model"], "layers": 2, "heads": 4}}
    folder = api.teach(
        configuration.parse(tiny_config({"teachers": [teacher]}, tmp_path / "cache")), tmp_path / "teach"
    )
    given = str(folder[0]["folder"])
    changes = {
        "teachers": [{"model": given}],
        "student": {"layers": 1, "hidden_size": 16, "heads": 2, "tokenizer": given},
        "objective": {"type": "kl", "features": {"hidden": 1, "store_mb": 0}},
    }
    config = configuration.parse(tiny_config(changes, tmp_path / "cache"), each_domain=True)
    result = api.domains(config, tmp_path / "out")
    for domain in DOMAINS:
        run = json.loads((tmp_path / "out" / domain / "result.json").read_text(encoding="utf-8"))
        assert run["features"]["stored"] is False
    assert list(result.domains) == DOMAINS


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_meta_teacher_and_a_multi_task_teacher_serve_all_domains(tmp_path: Path) -> None:
    """Both are trained once. The meta-teacher is the same for all domains; of the other one each domain is served its
    own classifier, so each domain has a pass."""
    teachers = [{**TINY_TEACHER, "name": kind, "prepare": kind} for kind in ("meta", "multi_task")]
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "tokenizer": "wordpiece", "vocab_size": 400}
    features = {"teacher": "meta", "pkd": 1.0, "knowledge": 0.5, "expertise": True}
    changes = {"teachers": teachers, "student": student, "objective": {"type": "kl", "features": features}}
    config = configuration.parse(tiny_config(changes, tmp_path / "cache"), TEST, each_domain=True)
    result = api.domains(config, tmp_path / "out")
    rows = 240 + 80 + 60
    assert [(entry.name, entry.domains) for entry in result.teachers] == [
        ("meta", DOMAINS), ("multi_task", DOMAINS[:1]), ("multi_task", DOMAINS[1:]),
    ]  # fmt: skip
    first, *others = [entry.rows_computed for entry in result.teachers]
    assert (first, sum(others)) == (rows, rows)
    assert len(list((tmp_path / "cache" / "teachers").glob("*/teacher.json"))) == 2
    logs = [path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").glob("*/teachers/*.jsonl")]
    assert logs == ["books", "books"]
    raw = {**tiny_config(changes, tmp_path / "cache"), "name": "tiny-electronics"}
    api.distill(configuration.parse(raw, [*TEST, "data.target_domain=electronics"]), tmp_path / "apart")
    here, there = (tmp_path / of / "predictions.parquet" for of in ("out/electronics", "apart"))
    pd.testing.assert_frame_equal(pd.read_parquet(here), pd.read_parquet(there))

"""An ensemble that outlives its driver: up, used by a run and by a loop that is not ours, scaled, down."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from logs import losses
from stand_ins import DeafReplica
from tiny import TOKENIZER_TEACHERS, tiny_config

import raykd
from raykd import api
from raykd import config as configuration
from raykd.config import RunConfig
from raykd.config.ensemble import read_record, record_path
from raykd.data.splits import TextSplit
from raykd.errors import ConfigError, DataError
from raykd.ray_errors import NAMESPACE
from raykd.serve import ensembles
from raykd.serve.connection import ServedEnsemble
from raykd.serve.keeper import EnsembleKeeper
from raykd.teachers.local import LocalTeacher
from raykd.teachers.serving.service_actor import connect as connect_service
from raykd.teachers.serving.service_spec import TeacherServiceSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local")]
TEXTS = ["a good film", "the plot is bad and the end is worse", "a"]


def wait_until(condition: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def config_of(cache: Path, name: str = "shared", **changes: Any) -> RunConfig:
    cluster = {"num_cpus": 8, "object_store_mb": 128, "lease_s": 5}
    return configuration.parse(
        tiny_config({"name": name, "teachers": TOKENIZER_TEACHERS, "cluster": cluster} | changes, cache)
    )


def joined(cache: Path, **changes: Any) -> RunConfig:
    return config_of(cache, "student", teachers=[{"ensemble": "shared"}], **changes)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(ray_local: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The ensemble `shared` of two teachers, for all tests of this file that only use it; what `up` returned."""
    yield api.serve_up(config_of(cache), tmp_path_factory.mktemp("up") / "run")
    ensembles.down("shared", force=True)


@pytest.fixture
def client(served: dict[str, Any]) -> Iterator[ServedEnsemble]:
    with raykd.connect("shared") as connected:
        yield connected


def specs_of(name: str) -> list[TeacherServiceSpec]:
    specs: list[TeacherServiceSpec] = ensembles.ask(ensembles.find(name).specs.remote())
    return specs


def service_state(service: Any) -> dict[str, Any]:
    state: dict[str, Any] = ensembles.ask(service.status.remote())
    return state


def local_logits(client: ServedEnsemble, texts: list[str]) -> np.ndarray:
    """The undisturbed answers: each teacher's forward pass in this process."""
    split, ids = TextSplit.of(texts), np.arange(len(texts))
    teachers = [spec.teacher for spec in specs_of(client.name)]
    return np.stack([LocalTeacher(teacher, torch.device("cpu")).logits(split, ids) for teacher in teachers])


def test_up_waits_until_every_replica_is_ready(served: dict[str, Any]) -> None:
    assert list(served["teachers"]) == ["wordpiece", "bpe"]
    for teacher in served["teachers"].values():
        (replica,) = teacher["service"]["replicas"]
        assert replica["state"] in ("idle", "working")  # the answer to the probe may not have been fetched yet
        assert teacher["service"]["runs"] == []
        assert teacher["service"]["failure"] is None
    assert "shared" in ensembles.names()


def test_a_run_on_it_equals_the_run_with_teachers_of_its_own(
    served: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    """The same losses, bit by bit, and the run trains and starts no teacher."""
    own = tmp_path / "cache"
    shutil.copytree(cache / "teachers", own / "teachers")
    solo = config_of(own, "student")
    alone = api.distill(solo, tmp_path / "solo")
    before = ensembles.status("shared")["teachers"]["bpe"]["service"]["rows"]["forwards"]
    shared = api.distill(joined(cache), tmp_path / "shared")
    after = ensembles.status("shared")["teachers"]["bpe"]["service"]
    assert losses(tmp_path / "shared") == losses(tmp_path / "solo")
    assert [teacher.metric for teacher in shared.teachers] == [teacher.metric for teacher in alone.teachers]
    assert [teacher.rows_computed for teacher in shared.teachers] == [240 + 80] * 2
    assert after["rows"]["forwards"] - before == 240 + 80
    assert [replica["state"] for replica in after["replicas"]] == ["idle"]  # they stay, with nothing to do
    again = api.distill(joined(cache, seed=1), tmp_path / "again")
    assert [teacher.rows_computed for teacher in again.teachers] == [0, 0]


def test_one_teacher_of_it_by_name(served: dict[str, Any], cache: Path) -> None:
    config = config_of(cache, "student", teachers=[{"ensemble": "shared", "name": "bpe"}])
    assert config.teacher_names == ["bpe"]
    assert configuration.parse(config.model_dump(mode="json", by_alias=True)) == config  # config.yaml is read again


def test_texts_are_answered_and_not_kept(client: ServedEnsemble, cache: Path) -> None:
    assert (client.teachers, client.labels) == (["wordpiece", "bpe"], ["negative", "positive"])
    stored = sorted((cache / "targets").rglob("*")) if (cache / "targets").exists() else []
    got = client.soft_targets(texts=TEXTS)
    assert got.shape == (2, 3, 2)
    np.testing.assert_allclose(got, local_logits(client, TEXTS), rtol=1e-5, atol=1e-6)
    assert stored == (sorted((cache / "targets").rglob("*")) if (cache / "targets").exists() else [])
    service = connect_service(specs_of("shared")[0])
    wait_until(lambda: not any(corpus["store"] is None for corpus in service_state(service)["corpora"]))


def test_rows_of_a_registered_corpus_are_computed_once_for_all_clients(client: ServedEnsemble) -> None:
    texts = [f"film {k} is {'good' if k % 3 else 'bad'}" for k in range(50)]
    before = ensembles.status("shared")["teachers"]["bpe"]["service"]["rows"]["forwards"]
    ids = client.register(texts)
    client.prefetch([ids[:10], ids[10:20]])
    got = client.soft_targets(ids=ids[::-1])
    np.testing.assert_allclose(got, local_logits(client, texts)[:, ::-1], rtol=1e-5, atol=1e-6)
    with raykd.connect("shared") as other:
        other.register(texts)
        np.testing.assert_array_equal(other.soft_targets(ids=ids[::-1]), got)
    after = ensembles.status("shared")["teachers"]["bpe"]["service"]["rows"]["forwards"]
    assert after - before == 50


def test_what_a_client_cannot_be_asked(client: ServedEnsemble) -> None:
    with pytest.raises(ConfigError, match="one of the two"):
        client.soft_targets()
    with pytest.raises(ConfigError, match=r"call register\(texts\) first"):
        client.soft_targets(ids=[0])
    with pytest.raises(DataError, match="text 1: is no text but int"):
        client.soft_targets(texts=["a", 3])  # type: ignore[list-item]
    with pytest.raises(DataError, match="are 1 for 2 texts"):
        client.soft_targets(texts=["a", "b"], pairs=["c"])
    client.register(["a", "b"])
    with pytest.raises(DataError, match="id 2: is none of the 2 registered rows"):
        client.soft_targets(ids=[0, 2])
    with pytest.raises(ConfigError, match="ensemble other: is not up on this cluster; up: shared"):
        raykd.connect("other")


def test_scaling_keeps_what_runs(client: ServedEnsemble, cache: Path) -> None:
    ensembles.scale("shared", {"bpe": 2})

    def ready() -> int:
        replicas = ensembles.status("shared")["teachers"]["bpe"]["service"]["replicas"]
        return sum(replica["state"] == "idle" for replica in replicas)

    wait_until(lambda: ready() == 2)
    assert {served.name: served.replicas for served in read_record(cache, "shared").teachers}["bpe"] == 2
    client.soft_targets(texts=TEXTS)
    ensembles.scale("shared", {"bpe": 1})
    wait_until(lambda: ready() == 1)
    client.soft_targets(texts=TEXTS)
    with pytest.raises(ConfigError, match="has no teacher nobody"):
        ensembles.scale("shared", {"nobody": 2})
    with pytest.raises(ConfigError, match="is less than one"):
        ensembles.scale("shared", {"bpe": 0})


def test_up_again_is_the_same_one_or_refused(served: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    born = ensembles.status("shared")["up_s"]
    assert api.serve_up(config_of(cache), tmp_path / "same")["up_s"] > born
    other = config_of(cache, teachers=TOKENIZER_TEACHERS[:1])
    with pytest.raises(ConfigError, match="is up with other teachers"):
        api.serve_up(other, tmp_path / "other")


def test_a_run_is_refused_where_it_would_get_other_answers(served: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    swapped = joined(cache, task={"labels": ["positive", "negative"]})
    with pytest.raises(ConfigError, match=r"classes negative, positive; this task has positive, negative"):
        api.distill(swapped, tmp_path / "labels")
    raw = joined(cache).model_dump(mode="json", by_alias=True)
    raw["teachers"][0]["max_length"] = 12
    with pytest.raises(ConfigError, match="is served with max_length 24, asked is 12"):
        api.distill(configuration.parse(raw), tmp_path / "length")


def test_the_keeper_and_a_service_come_back(client: ServedEnsemble) -> None:
    keeper = ensembles.find("shared")
    ensembles.scale("shared", {"wordpiece": 2})
    specs = specs_of("shared")
    ray.kill(keeper, no_restart=False)
    ray.kill(connect_service(specs[0]), no_restart=False)
    wait_until(lambda: wanted("wordpiece") == 2)
    np.testing.assert_allclose(client.soft_targets(texts=TEXTS), local_logits(client, TEXTS), rtol=1e-5, atol=1e-6)
    wait_until(lambda: len(ensembles.status("shared")["teachers"]["wordpiece"]["service"]["replicas"]) == 2)
    ensembles.scale("shared", {"wordpiece": 1})


def wanted(teacher: str) -> int:
    try:
        number: int = ensembles.status("shared")["teachers"][teacher]["wanted"]
    except raykd.errors.RaykdError:  # it restarts
        return 0
    return number


@pytest.mark.nightly
def test_a_teacher_that_has_failed_is_started_again(
    served: dict[str, Any], cache: Path, client: ServedEnsemble
) -> None:
    """Of a keeper of its own whose replicas never answer in time."""
    spec, _ = specs_of("shared")
    deaf = dataclasses.replace(
        spec, teacher=dataclasses.replace(spec.teacher, max_length=11), replica=DeafReplica, call_timeout_s=0.2
    )
    record = read_record(cache, "shared").model_copy(update={"name": "deaf"})
    record.teachers = record.teachers[:1]
    record.write(cache)
    keeper = ray.remote(EnsembleKeeper).options(num_cpus=0, max_concurrency=4).remote("deaf", str(cache), [deaf])
    service = connect_service(deaf)
    split = TextSplit.of(TEXTS)
    ray.get(service.register.remote(split, "someone"))
    ray.get(service.announce.remote(split.texts, "someone", np.arange(3)))

    def seen() -> dict[str, Any]:
        return ray.get(keeper.status.remote())["teachers"]["wordpiece"]

    wait_until(lambda: seen()["failures"] >= 1)
    assert "no answer in 0.2 s" in seen()["last_failure"]
    wait_until(lambda: seen()["service"]["failure"] is None and seen()["service"]["corpora"] == [])
    ray.get(keeper.close.remote(True))
    ray.kill(keeper)


def test_down_leaves_a_teacher_to_the_runs_that_use_it(cache: Path, tmp_path: Path, ray_local: None) -> None:
    api.serve_up(config_of(cache, "brief", teachers=[dict(TOKENIZER_TEACHERS[0])], data=small()), tmp_path / "up")
    with raykd.connect("brief") as client:
        ids = client.register(TEXTS)
        using = ensembles.down("brief")
        assert list(using) == ["wordpiece"]
        assert not record_path(cache, "brief").exists()
        assert client.soft_targets(ids=ids).shape == (1, 3, 2)
    with pytest.raises(ConfigError, match="is not up"):
        ensembles.status("brief")
    with pytest.raises(ConfigError, match="ensemble brief: is not in the cache"):
        config_of(cache, "student", teachers=[{"ensemble": "brief"}])


def small() -> dict[str, Any]:
    """Other rows than the shared ensemble's, so that its teachers are others."""
    return {"source": "generated", "max_length": 16, "generated": {"rows": 240, "validation_rows": 80, "domains": 2}}


def test_an_ensemble_that_nobody_uses_ends_after_its_time(cache: Path, tmp_path: Path, ray_local: None) -> None:
    config = config_of(cache, "short", teachers=[dict(TOKENIZER_TEACHERS[0])], data=small())
    api.serve_up(config, tmp_path / "up", idle_timeout_s=4.0)
    (spec,) = specs_of("short")
    wait_until(lambda: "short" not in ensembles.names())
    assert not record_path(cache, "short").exists()

    def gone() -> bool:
        try:
            ray.get_actor(spec.name, namespace=NAMESPACE)
        except ValueError:
            return True
        return False

    wait_until(gone)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"ensemble": "nobody"}, "ensemble nobody: is not in the cache"),
        ({"ensemble": "../x"}, "is no name"),
        ({"ensemble": "shared", "replicas": 2}, "replicas comes from the ensemble shared: leave it out"),
        ({"ensemble": "shared", "name": "nobody"}, "no teacher of the ensemble shared is named 'nobody'"),
    ],
)
def test_entries_that_name_nothing(entry: dict[str, Any], message: str, served: dict[str, Any], cache: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(cache, "student", teachers=[entry])


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    path = record_path(tmp_path, "shared")
    path.parent.mkdir()
    for content in ("{", json.dumps({"name": "shared"})):
        path.write_text(content)
        with pytest.raises(ConfigError, match="is damaged or of another version"):
            read_record(tmp_path, "shared")

"""Meta-teachers and multi-task teachers in whole runs: prepared, cached, served, scored, resumed and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from logs import events, losses
from safetensors.torch import load_file
from tiny import TINY_TEACHER, Configure, graded_rows

from raykd import api, models
from raykd.config import RunConfig
from raykd.errors import ConfigError, Interrupted, ModelError
from raykd.models.domain_head import FOLDER, load_domain_head
from raykd.run.context import open_corpus
from raykd.teachers import finetune
from raykd.teachers.prototypes import load_prototypes
from raykd.teachers.recipe import Recipe
from raykd.training.loop import TrainLoop

pytestmark = pytest.mark.usefixtures("ray_local")

DOMAINS = ["books", "electronics", "kitchen"]
THREE = ["data.generated.domains=3", "data.generated.test_rows=60", "data.test=test"]


def teacher(prepare: str = "meta", **keys: Any) -> dict[str, Any]:
    return {**TINY_TEACHER, "name": "meta", "prepare": prepare, **keys}


def recipe_of(config: RunConfig) -> Recipe:
    corpus, task = open_corpus(config)
    trained = config.teachers[0]
    return finetune.recipe_of("meta", trained, task, corpus, config.data.max_length)  # type: ignore[arg-type]


def fingerprint(config: RunConfig) -> str:
    return finetune._fingerprint(recipe_of(config))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this module, so that what is prepared is counted."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a meta-teacher of three domains."""
    from tiny import tiny_config

    from raykd import config

    raw = tiny_config({"teachers": [teacher()]}, cache)
    return Path(api.teach(config.parse(raw, THREE), tmp_path_factory.mktemp("teach"))[0]["folder"])


def test_a_meta_teacher_is_an_ordinary_checkpoint_with_what_belongs_to_it_beside(
    configure: Configure, taught: Path, cache: Path, tmp_path: Path
) -> None:
    weights = models.weights_fingerprint(taught)
    head, prototypes = load_domain_head(taught, weights, torch.float32), load_prototypes(taught)
    assert head.domains == prototypes.domains == tuple(DOMAINS)
    assert prototypes.labels == ("negative", "positive")
    assert prototypes.vectors.shape == (3, 2, 32)
    assert np.isfinite(prototypes.vectors).all()
    words = "bert.embeddings.word_embeddings.weight"
    before, after = (load_file(folder / "model.safetensors")[words] for folder in (taught / FOLDER / "encoder", taught))
    assert not torch.equal(before, after), "the encoder of the prototypes is the one before training"
    config = configure(*THREE, teachers=[teacher()], cache=cache)
    scores = json.loads((taught / "teacher.json").read_text(encoding="utf-8"))["scores"]
    assert api.evaluate(taught, config)["validation"] == pytest.approx(scores)
    again = api.teach(config, tmp_path / "again")
    assert again[0]["folder"] == str(taught)
    assert not (tmp_path / "again" / "teachers" / "meta.jsonl").exists(), "it is in the cache"


@pytest.mark.slow
def test_a_run_with_a_meta_teacher(configure: Configure, taught: Path, cache: Path, tmp_path: Path) -> None:
    config = configure(*THREE, teachers=[teacher()], cache=cache)
    result = api.distill(config, tmp_path / "run")
    (served,) = result.teachers
    assert served.prototypes is not None
    assert list(served.prototypes.rows) == DOMAINS
    assert sum(served.prototypes.rows.values()) == 240
    assert result.seen == {"meta": ["train"]}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Prototype scores by domain" in page
    card = (tmp_path / "run" / "student" / "README.md").read_text(encoding="utf-8")
    assert "meta-teacher trained on the training rows" in card
    given = configure(*THREE, teachers=[{"model": str(taught), "name": "meta"}], cache=cache)
    api.distill(given, tmp_path / "given")
    assert losses(tmp_path / "given") == losses(tmp_path / "run"), "its folder is an ordinary teacher"


@pytest.mark.slow
@pytest.mark.parametrize("unseen", [True, False])
def test_its_expertise_and_knowledge_reach_a_student_of_one_domain(
    configure: Configure, cache: Path, tmp_path: Path, unseen: bool
) -> None:
    """The whole method, with rows without labels; of a domain that the meta-teacher has not seen, or has."""
    features = {"hidden": 1, "embedding": 1, "attention": 0.1, "knowledge": 0.5, "expertise": True}
    few = ["data.target_domain=books", "data.max_train_rows=24", "data.unlabeled=rest"]
    teachers = [teacher(leave_out=["target"]) if unseen else teacher()]
    (prepared,) = api.teach(configure(*THREE, *few, teachers=teachers, cache=cache), tmp_path / "teach")
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "dropout": 0.0, "tokenizer": prepared["folder"]}
    config = configure(
        *THREE, *few, teachers=teachers, student=student, cache=cache, objective={"type": "kl", "features": features}
    )
    result = api.distill(config, tmp_path / "run")
    assert result.features is not None
    assert set(result.features.terms) == {"hidden", "embedding", "attention", "knowledge"}
    assert ("books" in load_prototypes(Path(prepared["folder"])).domains) != unseen
    assert np.isfinite(losses(tmp_path / "run")).all()


@pytest.mark.slow
def test_expertise_goes_by_the_names_of_labels(configure: Configure, taught: Path, cache: Path, tmp_path: Path) -> None:
    """A task that has the teacher's classes in another order weighs rows alike."""
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "dropout": 0.0, "tokenizer": str(taught)}
    matched = []
    for name, labels in (("same", ["negative", "positive"]), ("swapped", ["positive", "negative"])):
        config = configure(
            *THREE, "train.max_steps=1", teachers=[{"model": str(taught), "name": "meta"}], student=student,
            task={"labels": labels}, objective={"type": "kl", "features": {"pkd": 1, "expertise": True}}, cache=cache,
        )  # fmt: skip
        api.distill(config, tmp_path / name)
        matched.append(events(tmp_path / name, "step")[0].features)
    assert matched[1] == pytest.approx(matched[0], rel=1e-5)


@pytest.mark.parametrize(
    ("keys", "differs"),
    [
        ({"prototype_share": 0.4}, True),
        ({"prototype_weights": False}, True),
        ({"domain_loss": "reverse"}, True),
        ({"domain_weight": 0.2}, True),
        ({"domains": ["books", "kitchen"]}, True),
        ({"leave_out": ["books"]}, True),
        ({"prepare": "finetune"}, True),
        ({"prepare": "multi_task"}, True),
        ({"finetune": {**TINY_TEACHER["finetune"], "seed": 1}}, True),
        ({"finetune": {**TINY_TEACHER["finetune"], "log_every": 1}}, False),
        ({"replicas": 2}, False),
        ({"name": "other"}, False),
    ],
)
def test_the_fingerprint_has_all_that_decides_the_weights(
    configure: Configure, keys: dict[str, Any], differs: bool
) -> None:
    plain, changed = (configure(*THREE, teachers=[teacher(**some)]) for some in ({}, keys))
    assert (fingerprint(plain) != fingerprint(changed)) == differs


@pytest.mark.parametrize(("prepare", "differs"), [("meta", True), ("multi_task", True), ("finetune", False)])
def test_the_domains_of_the_rows_are_part_of_the_fingerprint(
    configure: Configure, tmp_path: Path, prepare: str, differs: bool
) -> None:
    """The same texts and labels under other domains."""
    domain_columns(tmp_path)
    data = {"source": str(tmp_path), "max_length": 16}
    first, second = (
        configure(data={**data, "domain": column}, teachers=[teacher(prepare)]) for column in ("shop", "year")
    )
    assert (fingerprint(first) != fingerprint(second)) == differs


def domain_columns(folder: Path) -> None:
    """Rows with two columns that can be taken as domains."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("validation", 60)):
        rows = np.arange(count)
        table = {"text": [f"a{k % 7} {'good' if k % 2 else 'bad'} b{k % 5}" for k in rows], "label": rows % 2}
        table |= {"shop": rng.choice(["a", "b"], count), "year": rng.choice(["one", "two"], count)}
        pd.DataFrame(table).to_csv(folder / f"{split}.csv", index=False)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Asks the teacher's training to stop once it has made so many steps."""
    monkeypatch.setattr(TrainLoop, "_stop_asked", lambda self, now: now + 1 == step)


@pytest.mark.parametrize("prepare", ["meta", "multi_task"])
def test_stopped_and_started_again_it_is_the_same_teacher(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: str
) -> None:
    """Also one that was killed between the end of its training and its place in the cache."""
    settings = {**TINY_TEACHER["finetune"], "eval_every": 3}

    def config(name: str) -> RunConfig:
        return configure(*THREE, teachers=[teacher(prepare, finetune=settings)], cache=tmp_path / name)

    whole = Path(api.teach(config("whole"), tmp_path / "run-whole")[0]["folder"])
    stop_at(monkeypatch, 5)
    with pytest.raises(Interrupted):
        api.teach(config("parts"), tmp_path / "run-parts")
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr(finetune, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            api.teach(config("parts"), tmp_path / "run-parts")
    parts = Path(api.teach(config("parts"), tmp_path / "run-parts")[0]["folder"])
    assert parts.name == whole.name
    assert files(parts) == files(whole)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_multi_task_teacher_is_trained_once_and_served_with_the_classifier_of_a_domain(
    configure: Configure, cache: Path, tmp_path: Path
) -> None:
    folders = {}
    for domain in [None, *DOMAINS]:
        config = configure(*THREE, teachers=[teacher("multi_task", domain=domain)], cache=cache)
        folders[domain] = Path(api.teach(config, tmp_path / str(domain))[0]["folder"])
    logs = [(tmp_path / str(domain) / "teachers" / "meta.jsonl").exists() for domain in folders]
    assert logs == [True, False, False, False], "trained once"
    assert len({models.weights_fingerprint(folder) for folder in folders.values()}) == 4
    trained = folders[None]
    heads = load_file(trained / FOLDER / "heads.safetensors")
    mean, _ = models.load(trained)
    for name in ("weight", "bias"):
        own = [heads[f"{k}.{name}"] for k in range(3)]
        torch.testing.assert_close(mean.get_parameter(f"classifier.{name}"), torch.stack(own).mean(0))
        for k, domain in enumerate(DOMAINS):
            served, _ = models.load(folders[domain])
            assert torch.equal(served.get_parameter(f"classifier.{name}"), own[k])
    assert not torch.equal(heads["0.weight"], heads["1.weight"])
    encoders = [{n: t for n, t in models.load(f)[0].state_dict().items() if "classifier" not in n}
                for f in folders.values()]  # fmt: skip
    assert all(torch.equal(encoders[0][name], encoder[name]) for encoder in encoders for name in encoders[0])
    assert set(api.evaluate(folders["books"], configure(*THREE))) == {"validation", "test"}
    # Of a target domain it is that one's, where it was trained on it.
    for keys, expected in (({}, "kitchen"), ({"leave_out": ["kitchen"]}, None)):
        config = configure(
            *THREE, "data.target_domain=kitchen", teachers=[teacher("multi_task", **keys)], cache=cache
        )  # fmt: skip
        folder = Path(api.teach(config, tmp_path / f"target-{expected}")[0]["folder"])
        if expected is not None:
            assert folder == folders[expected]
        else:
            assert (folder / "teacher.json").exists(), "the mean of the others"


@pytest.mark.slow
def test_a_run_with_a_multi_task_teacher(configure: Configure, cache: Path, tmp_path: Path) -> None:
    config = configure(
        *THREE, "data.target_domain=kitchen", teachers=[teacher("multi_task", name="several")], cache=cache
    )
    result = api.distill(config, tmp_path / "run")
    assert result.teachers[0].name == "several"
    assert result.teachers[0].prototypes is None
    assert result.seen == {"several": ["train of all domains"]}
    assert "multi-task teacher trained on" in (tmp_path / "run" / "student" / "README.md").read_text(encoding="utf-8")


def test_damaged_classifiers_of_domains_are_one_line(configure: Configure, cache: Path, tmp_path: Path) -> None:
    config = configure(*THREE, teachers=[teacher("multi_task")], cache=cache)
    trained = Path(api.teach(config, tmp_path / "teach")[0]["folder"])
    shutil.copytree(trained, tmp_path / "copy")
    recipe = replace(
        recipe_of(config), config=config.teachers[0].model_copy(update={"domain": "books"})  # type: ignore[arg-type]
    )  # fmt: skip
    (tmp_path / "copy" / FOLDER / "heads.safetensors").write_bytes(b"none")
    for path in (tmp_path / "copy" / FOLDER).glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
    with pytest.raises(ModelError, match="the classifiers of its domains are damaged") as refused:
        recipe.served(tmp_path / "copy")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("prepare", ["meta", "multi_task"])
def test_what_is_not_about_several_domains_is_refused_by_check(
    configure: Configure, tmp_path: Path, prepare: str
) -> None:
    domain_columns(tmp_path)
    (tmp_path / "graded").mkdir()
    graded_rows(tmp_path / "graded", 60, 30)
    for split in ("train", "validation"):
        table = pd.read_csv(tmp_path / "graded" / f"{split}.csv")
        table.assign(domain=["a", "b"] * (len(table) // 2)).to_csv(tmp_path / "graded" / f"{split}.csv", index=False)
    plain = {"source": str(tmp_path), "max_length": 16}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"data": plain}, "is about domains, and the rows name none"),
        ({"teachers": [teacher(prepare, domains=["books"])]}, "several domains, and all its rows are of books"),
        (
            {"data": {**plain, "source": str(tmp_path / "graded")}, "task": {"type": "regression"}},
            "is about classes; a regression has none",
        ),
    ]
    if prepare == "multi_task":
        cases.append(({"teachers": [teacher(prepare, domain="music")]}, "it is trained on no row of 'music'"))
    for changes, message in cases:
        config = configure(**{"teachers": [teacher(prepare)], **changes})
        for refuse in (lambda c: api.check(c), lambda c: api.teach(c, tmp_path / "teach"), recipe_of):
            with pytest.raises(ConfigError, match=message) as refused:
                refuse(config)
            assert "\n" not in str(refused.value)
            assert refused.value.status == 2


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ["meta", pytest.param("multi_task", marks=pytest.mark.nightly)])
def test_two_workers_are_one(configure: Configure, tmp_path: Path, prepare: str) -> None:
    """float64 through Ray Train, unequal shards: the losses of the training are the same."""
    for name, workers in (("one", 1), ("two", 2)):
        settings = {**TINY_TEACHER["finetune"], "batch_size": 33, "precision": "float64", "log_every": 1}
        settings |= {"workers": workers, "max_steps": 8}
        config = configure(*THREE, teachers=[teacher(prepare, finetune=settings)], cache=tmp_path / name)
        api.teach(config, tmp_path / f"run-{name}")
    series = [training_losses(tmp_path / f"run-{name}") for name in ("one", "two")]
    assert len(series[0]) == 8
    np.testing.assert_allclose(series[1], series[0], rtol=1e-8)


def training_losses(folder: Path) -> list[float]:
    lines = (folder / "teachers" / "meta.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["loss"] for event in map(json.loads, lines) if event["event"] == "step"]

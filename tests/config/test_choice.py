"""A choice among types: shorthands, another type by override, `extends` or a study, keys of before, what types say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import Configure, tiny_config

from raykd import config as configuration
from raykd.config import (
    CotangentFeedbackConfig,
    FeedbackConfig,
    GivenTeacherConfig,
    KLConfig,
    ObjectiveConfig,
    RunConfig,
    TeacherConfig,
    UniformConfig,
    WeightingConfig,
    load_implementation,
)
from raykd.config.choice import Choice
from raykd.config.keys import RENAMED
from raykd.config.search import SchedulerConfig, SearcherConfig
from raykd.errors import ConfigError
from raykd.study import space

FAMILIES: list[type[Choice]] = [
    WeightingConfig, FeedbackConfig, ObjectiveConfig, TeacherConfig, SearcherConfig, SchedulerConfig,
]  # fmt: skip
Section = dict[str, Any]


def parsed(changes: Section, *overrides: str) -> RunConfig:
    return configuration.parse(tiny_config(changes, Path("unused")), list(overrides))


def by_override(before: Section, key: str, kind: str, folder: Path) -> RunConfig:
    return parsed(before, f"{key}.type={kind}")


def by_bare_override(before: Section, key: str, kind: str, folder: Path) -> RunConfig:
    return parsed(before, f"{key}={kind}")


def by_extends(before: Section, key: str, kind: str, folder: Path) -> RunConfig:
    (folder / "base.yaml").write_text(yaml.safe_dump(tiny_config(before, Path("unused"))), encoding="utf-8")
    (folder / "top.yaml").write_text(f"extends: base.yaml\n{key}: {kind}\n", encoding="utf-8")
    return configuration.load(folder / "top.yaml")


def by_extended_mapping(before: Section, key: str, kind: str, folder: Path) -> RunConfig:
    (folder / "base.yaml").write_text(yaml.safe_dump(tiny_config(before, Path("unused"))), encoding="utf-8")
    (folder / "top.yaml").write_text(f"extends: base.yaml\n{key}: {{type: {kind}}}\n", encoding="utf-8")
    return configuration.load(folder / "top.yaml")


def by_study(before: Section, key: str, kind: str, folder: Path) -> RunConfig:
    study = {"space": {f"{key}.type": {"choice": [kind]}}}
    config = parsed({**before, "study": study})
    return space.trial_config(config, {f"{key}.type": kind}, "trial")


WAYS = [by_override, by_bare_override, by_extends, by_extended_mapping, by_study]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    ("key", "before", "kind", "kept"),
    [
        ("weighting", {"type": "policy", "lr": 0.1, "reward": "r2"}, "uniform", {}),
        ("weighting", {"type": "fixed", "weights": [1.0]}, "oracle", {}),
        ("feedback", {"type": "metadistil", "every": 4, "pilot_lr": 0.1}, "ikd", {"every": 4, "teacher_ce": 1.0}),
        (
            "feedback",
            {"type": "ikd", "every": 4, "exam_source": "train"},
            "metadistil",
            {"every": 4, "teacher_ce": 0.0},
        ),
        ("feedback", {"type": "ikd", "teacher_ce": 0.5}, "metadistil", {"teacher_ce": 0.5}),
        ("feedback", {"type": "metadistil", "every": 4}, "none", {}),
        ("objective", {"type": "kl", "temperature": 3.0, "alpha": 0.9}, "mse", {"alpha": 0.9}),
        ("objective", {"temperature": 3.0, "alpha": 0.9}, "mse", {"alpha": 0.9}),
    ],
)
def test_another_type_drops_what_only_the_old_one_has(
    way: Callable[..., RunConfig], key: str, before: Section, kind: str, kept: Section, tmp_path: Path
) -> None:
    section = getattr(way({key: before}, key, kind, tmp_path), key)
    assert section.type == kind
    assert {name: getattr(section, name) for name in kept} == kept
    default = type(section)()
    changed = {name for name in type(section).model_fields if getattr(section, name) != getattr(default, name)}
    assert changed <= set(kept)


def test_another_way_to_prepare_a_teacher_drops_its_keys() -> None:
    teacher = parsed({}, "teachers.0.domains=[books]", "teachers.0.model=some/model", "teachers.0.prepare=given")
    assert teacher.teachers[0].prepare == "given"
    assert parsed({}, "teachers.0.prepare=finetune").teachers[0].prepare == "finetune"


def test_the_order_of_overrides_is_kept() -> None:
    config = parsed({}, "weighting=policy", "weighting.lr=0.5", "feedback=ikd", "feedback.every=3", "feedback=none")
    assert (config.weighting.type, config.feedback.type) == ("policy", "none")
    assert config.weighting == WeightingConfig.of({"type": "policy", "lr": 0.5})
    with pytest.raises(ConfigError, match="`lr` belongs to type policy"):
        parsed({}, "weighting.lr=0.5", "weighting=oracle")


def test_a_bare_name_or_no_type_is_the_mapping_with_one() -> None:
    assert parsed({"weighting": "uniform"}).weighting == parsed({"weighting": {}}).weighting == UniformConfig()
    assert parsed({"objective": {"temperature": 4}}).objective == KLConfig(temperature=4)
    (teacher,) = parsed({"teachers": ["some/model"]}).teachers
    assert isinstance(teacher, GivenTeacherConfig)
    assert (teacher.prepare, teacher.model.from_) == ("given", "some/model")
    with pytest.raises(TypeError, match=r"use WeightingConfig\.of"):
        WeightingConfig(type="uniform")


def test_a_study_asks_for_a_key_only_where_the_type_has_it(configure: Configure) -> None:
    keys = {
        "objective.type": {"choice": ["kl", "mse"]},
        "objective.temperature": {"loguniform": [1, 10]},
        "weighting": {"choice": ["uniform", {"type": "policy", "student_state": True}]},
        "weighting.lr": {"loguniform": [0.001, 0.1]},
        "weighting.reward.every": {"randint": [1, 9]},
    }
    config = configure(study={"space": keys, "trials": 40})
    points = space.sample(config)
    for params in points:
        trial = space.trial_config(config, params, "trial")
        assert ("objective.temperature" in params) == isinstance(trial.objective, KLConfig)
        assert ("weighting.lr" in params) == ("weighting.reward.every" in params) == (trial.weighting.type == "policy")
    assert {params["objective.type"] for params in points} == {"kl", "mse"}
    (policy,) = space.policies(config)
    assert policy.student_state


@pytest.mark.parametrize("old", RENAMED)
def test_a_key_of_before_is_refused_with_its_new_name(old: str) -> None:
    raw = copy.deepcopy(tiny_config({}, Path("unused")))
    here: Any = raw
    *above, last = old.replace("[]", ".0").split(".")
    for part in above:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    here[last] = 1
    with pytest.raises(ConfigError) as error:
        configuration.parse(raw)
    assert f"configuration: {'.'.join([*above, last])}: has another name now (write {RENAMED[old]})" == str(error.value)
    assert error.value.status == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.patience=2", "train.patience: has another name now (write train.early_stopping_patience)"),
        ("study={space: {train.clip: {choice: [1]}}}", "study.space.train.clip: has another name now"),
        ("weighting=polcy", "weighting.type: there is no type 'polcy' (did you mean policy?)"),
        ("teachers.0.prepare=fintune", "teachers.0.prepare: there is no prepare 'fintune' (did you mean finetune?)"),
        ("weighting=[1]", "weighting: is neither the name of a type nor a mapping"),
        ("weighting={type: policy, reward: {evry: 2}}", "weighting.reward.evry: unknown key (did you mean every?)"),
        ("weighting={type: policy, entropy: 2}", "weighting.entropy: unknown key (did you mean entropy_bonus?)"),
        ("baselines=[unifrm]", "baselines: there is none named 'unifrm' (did you mean uniform?)"),
        ("baselines=[fixed]", "baselines: there is none named 'fixed'"),
        ("baselines=[pseudo]", "baselines: pseudo is about rows without labels: set data.unlabeled"),
        ("train.labeled_share=0.5", "train.labeled_share: all rows have labels"),
        ("data.limit=100", "data.limit: has another name now (write data.max_train_rows"),
        ("teachers.0.labels=[a, b]", "`labels` belongs to prepare given, endpoint (this is prepare: finetune)"),
        ("study={space: {seed: {chioce: [1]}}}", "study.space.seed.chioce: unknown key (did you mean choice?)"),
        ("study={space: {weighting.type: {choice: [polcy]}}}", "there is no type 'polcy': did you mean policy?"),
        ("study={space: {weighting: {choice: [polcy]}}}", "there is no type 'polcy': did you mean policy?"),
        ("weighting={type: policy, temp: 2}", "weighting.temp: unknown key (known here: type, mode, reward"),
        ("study={space: {teachers.0.num_cpsu: {choice: [1]}}}", "did you mean teachers.num_cpus?"),
        ("study={space: {trackers.mlflow: {choice: [a]}}}", "all trials of a study share it"),
    ],
)
def test_a_mistake_names_the_key_and_the_nearest(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed({}, override)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_trackers_do_not_change_what_is_learnt() -> None:
    assert configuration.changed_key(parsed({}), parsed({}, "trackers={mlflow: here, tensorboard: true}")) is None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_type_says_what_it_is(family: type[Choice]) -> None:
    types = family.types()
    assert family.default_type in types
    assert len({kind.title for kind in types.values()}) == len(types)
    for name, kind in types.items():
        assert kind.type_name() == name
        assert kind.title
        assert kind.__doc__
        described = [field.description for key, field in kind.model_fields.items() if key != family.discriminator]
        assert all(described)


@pytest.mark.parametrize("family", [WeightingConfig, FeedbackConfig, ObjectiveConfig], ids=lambda kind: kind.__name__)
def test_every_implementation_can_be_loaded(family: type[Choice]) -> None:
    for name, kind in family.types().items():
        config = family.of({"type": "fixed", "weights": [1]} if name == "fixed" else name)
        assert type(config) is kind
        assert isinstance(load_implementation(config), type)


def test_a_title_comes_with_its_citation() -> None:
    assert configuration.title_of("weighting", "oracle") == "each row's best teacher by its label"
    assert configuration.title_of("feedback", "metadistil", cited=True).startswith("MetaDistil (Zhou, Xu, McAuley")
    assert configuration.title_of("weighting", "of another version") == "of another version"
    assert all(
        issubclass(kind, CotangentFeedbackConfig) == (name != "none") for name, kind in FeedbackConfig.types().items()
    )

"""The keys of a teacher at an endpoint, and what such a teacher cannot do."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import TINY_TEACHER, Configure

from raykd.config import EndpointTeacherConfig, RunConfig, changed_key
from raykd.errors import ConfigError

HERE = "http://127.0.0.1:8000"


def parsed(configure: Configure, *overrides: str, beside: tuple[Any, ...] = (), **keys: Any) -> RunConfig:
    return configure(*overrides, teachers=[{"name": "far", "endpoint": HERE} | keys, *beside])


def test_the_key_endpoint_makes_a_teacher_of_that_kind(configure: Configure) -> None:
    (teacher,) = parsed(configure, endpoint=f"{HERE}/").teachers
    assert isinstance(teacher, EndpointTeacherConfig)
    assert (teacher.prepare, teacher.endpoint, teacher.form, teacher.numbers) == ("endpoint", [HERE], "raykd", "logits")
    assert (teacher.num_cpus, teacher.gpus, teacher.uses_cores) == (0.1, 0, False)
    (teacher,) = parsed(configure, prepare="endpoint", endpoint=[HERE, "https://far.example/a"], form="vllm").teachers
    assert isinstance(teacher, EndpointTeacherConfig)
    assert (teacher.endpoint, teacher.numbers) == ([HERE, "https://far.example/a"], "probabilities")


def test_a_run_may_resume_at_other_addresses_and_not_with_another_model(configure: Configure) -> None:
    before = parsed(configure)
    moved = ["teachers.0.endpoint=[http://a:1, http://b:2]", "teachers.0.batch_rows=7", "teachers.0.token_variable=T"]
    assert changed_key(before, parsed(configure, *moved)) is None
    assert changed_key(before, parsed(configure, "teachers.0.model_id=other")) == "teachers.0.model_id"


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hush-hush@far.example:80",
        "http://hush-hush@far.example",
        "http://far.example/a?token=hush-hush",
        "http://far.example/#hush-hush",
        "hush-hush@far.example:80",
        "ftp://hush-hush:x@far.example",
        "http://far.example:99999/hush-hush",
        "http:///hush-hush",
        "http://far.example/hush-hush a",
    ],
)
def test_an_address_with_a_secret_or_none_is_refused_and_not_repeated(configure: Configure, url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"teachers.0: endpoint: item 1 (is no address|holds a user|has a query)"
    ) as no:
        parsed(configure, endpoint=[HERE, url])
    assert "hush" not in str(no.value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": "some/model"}, "teachers.0.model: `model` belongs to prepare given, finetune, meta, multi_task"),
        ({"finetune": {}}, "teachers.0.finetune: `finetune` belongs to prepare finetune"),
        ({"domains": ["a"]}, "`domains` belongs to prepare finetune"),
        ({"max_length": 24}, "`max_length` belongs to prepare given"),
        ({"precision": "float32"}, "`precision` belongs to prepare given"),
        ({"num_gpus": 1}, "`num_gpus` belongs to prepare given"),
        ({"prepare": "given", "model": "some/model"}, "teachers.0.endpoint: `endpoint` belongs to prepare endpoint"),
        ({"endpoint": []}, "teachers.0.endpoint: .* at least 1"),
        ({"form": "openai"}, "teachers.0.form: .*'raykd', 'vllm' or 'tei'"),
        ({"form": "vllm", "revision": "2"}, "revision: vLLM and SGLang do not tell theirs"),
        ({"token_variable": "hush hush"}, "teachers.0.token_variable"),
        ({"token": "hush"}, "teachers.0.token: unknown key .known here: endpoint, "),
    ],
)
def test_keys_that_do_not_fit_are_refused(configure: Configure, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parsed(configure, **keys)


@pytest.mark.parametrize(
    ("overrides", "keys", "says"),
    [
        (["feedback=metadistil"], {}, "feedback.teachers: far is an endpoint, which cannot be trained"),
        (["feedback={type: ikd, teachers: [far]}"], {}, "feedback.teachers: far is an endpoint"),
        (["baselines=[alone, in_loop]"], {}, "baselines: in_loop .* and far is an endpoint"),
        (["objective={type: kl, features: {hidden: 1}}"], {}, "objective.features.teacher: far is an endpoint"),
        (["weighting=policy"], {}, "weighting.sentence_teacher: far is an endpoint"),
        (["objective=mse"], {"outputs": "probabilities"}, "objective: .* and far answers probabilities"),
        (["objective=mse"], {"form": "vllm"}, "objective: .* and far answers probabilities"),
        (["task=regression"], {"outputs": "probabilities"}, "teachers: far: a regression has no probabilities"),
    ],
)
def test_more_than_logits_is_refused(
    configure: Configure, overrides: list[str], keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        parsed(configure, *overrides, beside=(TINY_TEACHER,), **keys)


@pytest.mark.parametrize(
    "override",
    [
        "feedback={type: metadistil, teachers: [teacher1]}",
        "objective={type: kl, features: {teacher: teacher1, hidden: 1}}",
        "weighting={type: policy, sentence_teacher: teacher1}",
        "objective=mse",
        "baselines=[alone, uniform, confidence]",
    ],
)
def test_what_another_teacher_gives_or_logits_are_enough_for_is_not(configure: Configure, override: str) -> None:
    assert parsed(configure, override, beside=(TINY_TEACHER,)).teachers

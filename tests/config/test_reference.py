"""`raykd config`: every key with type, default, bounds and help, from the models; the page is up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raykd.config import Mark, RunConfig, WeightingConfig
from raykd.config.keys import keys_marked
from raykd.config.reference import as_markdown, as_text, reference, schema
from raykd.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs/configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(reference()), "run `make docs`"


def test_every_key_is_described() -> None:
    tables = reference()
    assert {"weighting", "feedback", "objective", "teachers[]", "study.searcher"} <= {table.key for table in tables}
    for table in tables:
        assert table.same_as or table.text
        assert all(entry.description and entry.type and entry.default for entry in table.entries)


def test_a_union_has_all_its_types() -> None:
    choices = [table.choice for table in reference("weighting") if table.key == "weighting"]
    assert choices == [f"type: {name}" for name in WeightingConfig.types()]
    assert "Yuan et al." in as_text(reference("weighting"))


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("weighting.lr", ["lr: number > 0; default 0.02", "learning rate of the policy"]),
        ("teachers.0.num_gpus", ["num_gpus: number ≥ 0; default 0", "Example: 0.25"]),
        ("teachers[].prepare", ["given | finetune | meta | multi_task | endpoint; default given"]),
        ("feedback.teacher_ce", ["(type: metadistil)", "default 0.0", "(type: ikd)", "default 1.0"]),
        ("objective.alpha", ["alpha: number ≥ 0, ≤ 1; default 0.5"]),
        ("data.source", ["source: text; required"]),
        ("study.repeat", ["top_k: integer ≥ 0; default 3"]),
    ],
)
def test_one_key(key: str, parts: list[str]) -> None:
    text = as_text(reference(key))
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("weightng", "did you mean weighting?"),
        ("weighting.entropy", "did you mean weighting.entropy_bonus?"),
        ("feedback.teacher_clip", "feedback.teacher_max_grad_norm"),
        ("teachers.0.finetune.clip", "finetune.max_grad_norm"),
        ("weighting.temp", "known here: type, weights"),
        ("oracle", "is a type of weighting"),
        ("study.asha", "is a type of study.scheduler"),
    ],
)
def test_a_mistyped_key_is_one_line(key: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        reference(key)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_schema_is_json_and_has_every_type() -> None:
    whole = json.loads(json.dumps(schema()))
    assert set(whole["properties"]) == set(RunConfig.model_fields)
    assert {kind.__name__ for kind in WeightingConfig.types().values()} <= set(whole["$defs"])
    assert schema("train.lr")["exclusiveMinimum"] == 0
    assert {"type": "string"} in schema("weighting")["anyOf"]  # the bare name
    assert schema("teachers.0.replicas") == {"minimum": 1, "type": "integer"}
    assert [form["const"] for form in schema("weighting.type")["anyOf"]] == list(WeightingConfig.types())


def test_what_pbt_may_change_is_marked_in_the_models() -> None:
    assert {key for key in keys_marked(RunConfig, Mark.LIVE) if not key.startswith("teachers.")} == {
        "train.lr", "train.weight_decay", "train.max_grad_norm", "objective.alpha", "objective.temperature",
        "objective.target", "objective.non_target", "objective.beta", "objective.gamma",
        "feedback.weight", "feedback.teacher_lr", "feedback.pilot_lr",
        *(f"objective.features.{term}.weight"
          for term in ("hidden", "attention", "embedding", "pkd", "minilm", "knowledge")),
    }  # fmt: skip

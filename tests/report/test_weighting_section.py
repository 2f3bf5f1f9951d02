"""Who taught what, as the page and its pictures say it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from reading import LONG, assert_readable, pictures, read, said, series, text_of

from raykd.records.log import MetricsLog
from raykd.report import model_card, read_run, render
from raykd.report.curves import Series
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.weighting_figures import choices_over_steps, mind_and_reward, weights_by_group
from raykd.report.weighting_data import Group, WeightingData

Folder = Callable[..., Path]
NAMES = ("wordpiece-4x128", "bpe-2x96", "wordpiece-2x64")


def a_weighting() -> dict[str, Any]:
    """The part `weighting` of a result.json, of a policy."""

    def group(name: str, rows: int, *weights: float) -> dict[str, Any]:
        return {"group": name, "rows": rows, "weight": dict(zip(NAMES, weights, strict=True))}

    return {
        "mode": "sample", "reward": "r1", "updates": 75, "entropy_undecided": 3 * float(np.log(2)),
        "began": {"reward": -0.61, "entropy": 2.07, "rows": 32.0}, "ended": {"reward": -0.2, "entropy": 0.9},
        "choices": {
            "rows": 3840, "all": dict(zip(NAMES, (0.31, 0.62, 0.2), strict=True)),
            "class": [group("negative", 1900, 0.3, 0.61, 0.2), group("positive", 1940, 0.32, 0.63, 0.2)],
            "domain": [group("books", 1280, 0.9, 0.6, 0.2), group("kitchen", 2560, 0.02, 0.63, 0.2)],
            "length": [group("10–40", 1920, 0.31, 0.6, 0.2), group("41–99", 1920, 0.31, 0.64, 0.2)],
        },
    }  # fmt: skip


def logged(folder: Path, updates: int = 75) -> None:
    rng, log = np.random.default_rng(3), MetricsLog(folder / "metrics.jsonl")
    for k in range(1, updates + 1):
        share = {name: 0.5 + (0.1 * i - 0.1) * k / updates + rng.normal(0, 0.03) for i, name in enumerate(NAMES)}
        entropy = 2.07 - 1.17 * k / updates
        log.write(
            "selector", step=8 * k, epoch=k / 15, version=k, reward=-0.6 + 0.005 * k, entropy=entropy, share=share
        )


@pytest.fixture
def chosen_run(make_run: Folder, result: dict[str, Any]) -> Path:
    result["weighting"] = a_weighting()
    result["baselines"] |= {"uniform": {"value": 0.834}, "oracle": {"value": 0.861}, "best": {"value": 0.81}}
    folder = make_run(result)
    weighted_by("policy", folder)
    logged(folder)
    return folder


def weighted_by(weighting: str, folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"weighting": {"type": weighting}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_finished_run_says_who_taught_what(chosen_run: Path) -> None:
    text, _ = read(render(chosen_run).read_text(encoding="utf-8"))
    for part in (
        "A policy chose the teachers row by row; 75 updates taught it to choose what gave the student, after its step, "
        "less of its own loss against the label. Every step drew its choices.",
        "Of the entropy of one who has not made up his mind (2.08 nats) 43 % was left.",
        "On 3,840 training rows bpe-2x96 was likely to be chosen on 62 %, wordpiece-4x128 31 %, wordpiece-2x64 20 %.",
        "By domain the largest difference is wordpiece-4x128's: 90 % on books, 2 % on kitchen.",
        "its student lost to oracle (0.861, -0.027), tied with uniform (0.834, +0.000), beat best (0.810, +0.024).",
        "domain kitchen 2,560 2 % 63 % 20 %",
        "baseline oracle 0.861",
        "the same student, each row's best teacher by its label",
    ):
        assert part in text, part
    assert "By class" not in text  # no teacher differs by as much as a tenth there
    assert "2 of these differences are smaller than chance on 872 rows." in text
    assert pictures(chosen_run) >= {"choices", "mind", "groups"}


def test_an_unfinished_run_says_it_from_its_log(make_run: Folder) -> None:
    folder = make_run({}, baselines=(), steps=240)
    weighted_by("policy", folder)
    logged(folder, 30)
    text, _ = read(render(folder).read_text(encoding="utf-8"))
    assert "A policy chose the teachers row by row; 30 updates so far teach it to choose" in text
    assert pictures(folder) == {"metric", "loss", "choices", "mind"}


def test_a_rule_has_weights_and_no_mind(make_run: Folder, result: dict[str, Any]) -> None:
    result["weighting"] = {"choices": a_weighting()["choices"]}
    folder = make_run(result)
    weighted_by("confidence", folder)
    text, _ = read(render(folder).read_text(encoding="utf-8"))
    assert "The teachers were blended row by row by the rule confidence ." in text
    assert "bpe-2x96 had a mean weight of 62 %" in text
    assert "entropy" not in text
    assert pictures(folder) >= {"groups"}
    assert not pictures(folder) & {"choices", "mind"}


def test_without_a_weighting_by_row_there_is_no_word_of_it(make_run: Folder, result: dict[str, Any]) -> None:
    folder = make_run(result)
    assert WeightingData.of(read_run(folder)) is None
    assert "Who taught what" not in text_of(folder)


@pytest.mark.parametrize("weighting", [{"updates": 0}, {"choices": {"all": {}}}, {"mode": "greedy", "choices": {}}])
def test_the_barest_weighting_is_enough(tmp_path: Path, weighting: dict[str, Any]) -> None:
    result = {"name": "bare", "metric": "accuracy", "value": 0.5, "weighting": weighting}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert "Who taught what" in read(render(tmp_path).read_text(encoding="utf-8"))[0]
    assert "by a policy" in model_card(result, {"weighting": {"type": "policy"}})


def test_names_do_not_become_markup(make_run: Folder, result: dict[str, Any]) -> None:
    evil = "</style><script>alert('x')</script>"
    result["weighting"] = a_weighting() | {"choices": {"rows": 3, "all": {evil: 1.0}}}
    assert evil in text_of(make_run(result))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("teachers", [1, 3, 8])
def test_pictures_can_be_read(theme: Theme, teachers: int) -> None:
    names = [f"{LONG} {k}" for k in range(teachers)]
    shares = {name: series(0.3 + 0.05 * k) for k, name in enumerate(names)}
    figure = choices_over_steps(shares, theme)
    assert_readable(figure)
    assert_readable(mind_and_reward(series(0.8), 2.08, series(-0.3), theme))
    assert_readable(mind_and_reward(Series.of([(8, 1.0)]), None, Series.of([(8, -0.5)]), theme))
    some = [Group(f"{LONG} group {k}", 10, dict.fromkeys(names, 0.1 * k)) for k in range(6)]
    figure = weights_by_group({"class": some[:2], "domain": some, "length": some[:5]}, names, "", theme)
    assert_readable(figure)
    assert "By domain" in said(figure)

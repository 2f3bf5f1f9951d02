"""Whole runs by every rule, as weighting and as baseline, and the weightings that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from logs import events, losses
from tiny import TOKENIZER_TEACHERS as TEACHERS
from tiny import Configure

from raykd import api
from raykd.config import baseline_rules
from raykd.errors import ConfigError
from raykd.run.context import open_corpus

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.slow
def test_every_rule_runs_as_weighting_and_as_baseline(configure: Configure, tmp_path: Path) -> None:
    """The same rule, rows and seed give the same student either way: with `reward: 0` only, fitted rules aside."""
    baselines = [rule for rule in baseline_rules() if rule not in ("best", "logistic")]
    plain = api.distill(configure("train.epochs=1", teachers=TEACHERS, baselines=baselines), tmp_path / "all")
    for rule in ("random", "confidence", "entropy", "oracle"):
        result = api.distill(configure("train.epochs=1", f"weighting={rule}", teachers=TEACHERS), tmp_path / rule)
        assert losses(tmp_path / rule) == losses(tmp_path / "all" / "baselines" / rule)
        assert result.value == plain.baselines[rule].value
        assert losses(tmp_path / rule) != losses(tmp_path / "all")
        reported = result.weighting is not None and result.weighting.teacher_weights is not None
        assert reported == (rule != "random")


@pytest.mark.slow
def test_fitted_rules_have_a_split_of_their_own(configure: Configure, tmp_path: Path) -> None:
    config = configure(
        "train.epochs=1", "data.reward=0.2", "baselines=[best, uniform]", "weighting=logistic", teachers=TEACHERS
    )
    result = api.distill(config, tmp_path)
    assert result.splits["train"].rows == 192
    reward = result.splits["reward"]
    assert (reward.split, reward.rows, reward.used_for) == ("train", 48, ["fitting logistic, best"])
    steps = {name: events(tmp_path / "baselines" / name, "plan")[0].samples for name in ("best", "uniform")}
    assert steps == {"best": 192, "uniform": 240}
    default = configure("weighting=best", teachers=TEACHERS)
    assert default.rows.reward == 0.1


def test_a_plan_by_domain_is_an_arm(configure: Configure, tmp_path: Path) -> None:
    """The teacher of the domain's name, or the one that `plan` names; others are refused before anything runs."""
    rows = configure(teachers=TEACHERS)
    domains = sorted(set(open_corpus(rows)[0].rows("train").domains(np.arange(240)) or []))
    plan = {domain: TEACHERS[k % 2]["name"] for k, domain in enumerate(domains)}
    weighting = {"type": "oracle", "by": "domain", "plan": plan}
    result = api.distill(configure("train.max_steps=2", teachers=TEACHERS, weighting=weighting), tmp_path)
    assert result.weighting is not None
    planned = result.weighting.teacher_weights
    assert planned is not None
    for group in planned.groups["domain"]:
        assert group.weight == {name: float(plan[group.group] == name) for name in ("wordpiece", "bpe")}
    for wrong in ({"by": "domain"}, {"by": "domain", "plan": {domains[0]: "bpe"}}):
        with pytest.raises(ConfigError, match="no teacher is planned for the domain"):
            api.check(configure(teachers=TEACHERS, weighting={"type": "oracle", **wrong}))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["weighting={type: uniform, lr: 0.1}"], "`lr` belongs to type policy"),
        (["weighting={type: policy, cross_fit: 1}"], "one fold leaves nothing"),
        (["weighting={type: policy, sentence_teacher: nobody}"], "no teacher is named 'nobody'"),
        (["weighting={type: policy}", "baselines=[in_loop]"], "in_loop remembers no answers"),
        (["weighting=logistic", "data.reward=0"], "data.reward"),
        (["baselines=[best]"], "best is fitted on the reward split"),
        (["weighting=entropy", "task=regression"], "a regression has none"),
        (["weighting=polcy"], "policy"),
        (["weighting={type: oracle, plan: {books: bpe}}"], "goes with `by: domain`"),
        (["weighting={type: oracle, by: domain, plan: {books: nobody}}"], "no teacher is named 'nobody'"),
        (["weighting={type: policy, reward: {replay: 3}}"], "needs `type: influence` in expectation"),
        (["weighting={type: policy, reward: influence}", "data.reward=0"], "data.reward"),
        (["weighting={type: policy, reward: influence}", "objective.alpha=0"], "no teacher has an influence"),
    ],
)
def test_a_weighting_that_cannot_be_is_refused(configure: Configure, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(*overrides, teachers=TEACHERS)

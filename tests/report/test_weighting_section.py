"""The page's section on weighting, its pictures, and the card's line on it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from reading import LONG, assert_readable, pictures, series, text_in, text_of

from raykd.display.text import share
from raykd.records.run_result import BaselineResult, RunResult, TeacherWeights, WeightGroup, WeightingResult
from raykd.records.series import Series
from raykd.report.figures.canvas import DARK, LIGHT, Theme
from raykd.report.figures.run_pictures import run_pictures
from raykd.report.figures.weighting_figures import policy_curves, shares_over_steps, weights_by_group
from raykd.report.run_files import Run, read_run
from raykd.report.views import Section
from raykd.report.weighting_data import MOST_GROUPS, WeightingData
from raykd.report.weighting_section import weighting_section

EVIL = "</style><script>alert('x')</script>"
MODES = {"sample": "were drawn from", "prob": "by its probabilities", "greedy": "above one half"}
REWARDS = {"r1": "against the label after", "r2": "the label and the teachers", "r3": "reward split"}


@pytest.fixture
def run(policy_run: Path) -> Run:
    return read_run(policy_run)


def section_of(run: Run) -> Section:
    section = weighting_section(run, [])
    assert section is not None
    return section


def paragraphs(run: Run) -> str:
    return " ".join(section_of(run).paragraphs)


def table(run: Run) -> list[list[str]]:
    """The titles and the rows of the table of groups."""
    section = section_of(run)
    assert section.table is not None
    return [[column.title for column in section.table.columns], *(list(row.cells) for row in section.table.rows)]


def weights(books: float = 0.9, kitchen: float = 0.02) -> TeacherWeights:
    def group(name: str, rows: int, *of: float) -> WeightGroup:
        return WeightGroup(group=name, rows=rows, weight=dict(zip(("wordpiece", "bpe"), of, strict=True)))

    return TeacherWeights(
        rows=3840,
        all={"wordpiece": 0.31, "bpe": 0.62},
        groups={
            "class": [group("negative", 1900, 0.30, 0.61), group("positive", 1940, 0.32, 0.63)],
            "domain": [group("books", 1280, books, 0.6), group("kitchen", 2560, kitchen, 0.63)],
        },
    )


def with_weighting(run: Run, weighting: WeightingResult, **fields: object) -> Run:
    assert run.result is not None
    return replace(run, result=run.result.model_copy(update={"weighting": weighting, **fields}))


def test_a_policy(run: Run, result: RunResult, policy_run: Path) -> None:
    assert result.weighting is not None
    data = WeightingData.of(run)
    assert data is not None
    assert data.policy is not None
    text, uniform = paragraphs(run), result.weighting.entropy_uniform
    assert uniform is not None
    assert uniform == pytest.approx(2 * math.log(2))  # two teachers, each chosen or not
    entropy = data.policy.entropy.last
    assert entropy is not None
    assert f"{share(entropy / uniform)} of the entropy" in text
    assert f"updated {data.policy.updates:,} times" in text
    assert data.updates == data.policy.updates == result.weighting.updates
    assert pictures(policy_run) >= {"teacher_shares", "policy", "weights_by_group"}


def test_the_mode_and_the_reward_are_told(run: Run, result: RunResult) -> None:
    assert result.weighting is not None
    for mode, reward in (("sample", "r2"), ("prob", "r3"), ("greedy", "r1")):
        changed = result.weighting.model_copy(update={"mode": mode, "reward": reward})
        method = section_of(with_weighting(run, changed)).paragraphs[0]
        assert [key for key, words in MODES.items() if words in method] == [mode]
        assert [key for key, words in REWARDS.items() if words in method] == [reward]
        assert f"reward {reward} " in method


def test_the_table_has_rows_and_weights_of_each_group(run: Run, result: RunResult) -> None:
    assert result.weighting is not None
    of = result.weighting.teacher_weights
    assert of is not None
    titles, *rows = table(run)
    assert titles == ["Rows", "number", "wordpiece", "bpe"]
    assert rows == [
        [f"{kind} {group.group}", f"{group.rows:,}", share(group.weight["wordpiece"]), share(group.weight["bpe"])]
        for kind in ("class", "domain")
        for group in of.groups[kind]
    ]


def test_of_many_groups_the_largest_are_shown(run: Run) -> None:
    few = weights().groups["class"]
    many = [WeightGroup(group=f"d{k:02d}", rows=100 + 7 * k % 15, weight=few[0].weight) for k in range(15)]
    assert MOST_GROUPS == 12
    for domains, shown in ((many, sorted(many, key=lambda group: group.rows)[:2:-1]), (many[:12], many[:12])):
        changed = weights().model_copy(update={"groups": {"class": few, "domain": domains}})
        told = with_weighting(run, WeightingResult(teacher_weights=changed))
        names = [f"class {group.group}" for group in few] + [f"domain {group.group}" for group in shown]
        assert [cells[0] for cells in table(told)[1:]] == names
        data = WeightingData.of(told)
        assert data is not None
        assert data.largest_groups == {"class": few, "domain": shown}
        [picture] = [picture for picture in run_pictures(told) if picture.name == "weights_by_group"]
        drawn = {name for name in text_in(picture.draw()).splitlines() if name.startswith("d")}
        assert drawn == {group.group for group in shown}


def test_weights_are_ordered_and_large_differences_named(run: Run, result: RunResult) -> None:
    assert result.weighting is not None
    text = paragraphs(with_weighting(run, result.weighting.model_copy(update={"teacher_weights": weights()})))
    assert "3,840 training rows" in text
    assert text.index("62 % for bpe") < text.index("31 % for wordpiece")
    assert "90 % on books, 2 % on kitchen" in text
    assert "By class" not in text  # no teacher differs by a tenth there
    even = weights(0.31, 0.31)
    text = paragraphs(with_weighting(run, result.weighting.model_copy(update={"teacher_weights": even})))
    assert "By domain" not in text


def test_the_policy_beside_rules(run: Run, result: RunResult) -> None:
    assert result.weighting is not None

    def baseline(value: float) -> BaselineResult:
        return BaselineResult(value=value, scores={}, seconds=1.0, samples_per_s=1.0)

    rules = {"uniform": baseline(0.834), "oracle": baseline(0.861), "best": baseline(0.734)}
    gap = result.gap.model_copy(update={"split": "validation"})
    text = paragraphs(with_weighting(run, result.weighting, value=0.834, baselines=rules, gap=gap))
    assert "lost to oracle (0.861, -0.027)" in text
    assert "equalled uniform (0.834, +0.000)" in text
    assert "beat best (0.734, +0.100)" in text
    assert "2 of these differences are smaller than chance" in text  # of 80 rows: ±0.08


def test_an_unfinished_run_shows_it_from_its_log(unfinished_run: Path) -> None:
    run = read_run(unfinished_run)
    data = WeightingData.of(run)
    assert data is not None
    assert data.updates > 0
    assert f"updated {data.updates} times so far" in paragraphs(run)


def test_a_rule_has_weights_and_no_entropy(run: Run) -> None:
    rule = with_weighting(run, WeightingResult(teacher_weights=weights()))
    state = replace(rule.state, training={})
    text = paragraphs(replace(rule, state=state, config={"weighting": "confidence"}))
    assert "`confidence`" in text
    assert "mean weight was 62 % for bpe" in text
    assert "entropy" not in text


def test_without_a_weighting_by_row_there_is_no_section(regression_run: Path) -> None:
    run = read_run(regression_run)
    assert WeightingData.of(run) is None
    assert "Weighting of the teachers" not in text_of(run)


@pytest.mark.parametrize("weighting", [WeightingResult(), WeightingResult(updates=0, mode="greedy")])
def test_the_barest_weighting_is_enough(run: Run, weighting: WeightingResult) -> None:
    assert "Weighting of the teachers" in text_of(with_weighting(run, weighting))


def test_a_kind_of_group_without_members_is_left_out(run: Run) -> None:
    """As where all rows have one length."""
    weighting = WeightingResult(teacher_weights=weights().model_copy(update={"groups": {"length": []}}))
    section = weighting_section(with_weighting(run, weighting), [])
    assert section is not None
    assert section.table is None
    names = {picture.name for picture in run_pictures(with_weighting(run, weighting))}
    assert "weights_by_group" not in names


def test_names_do_not_become_markup(run: Run) -> None:
    evil = WeightingResult(teacher_weights=TeacherWeights(rows=3, all={EVIL: 1.0}))
    assert EVIL in text_of(with_weighting(run, evil))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("teachers", [1, 3, 8])
def test_pictures_can_be_read(theme: Theme, teachers: int) -> None:
    names = [f"{LONG} {k}" for k in range(teachers)]
    assert_readable(shares_over_steps({name: series(0.3 + 0.05 * k) for k, name in enumerate(names)}, theme))
    assert_readable(policy_curves(series(0.8), 2.08, series(-0.3), theme))
    assert_readable(policy_curves(Series.of([(8, 1.0)]), None, Series.of([(8, -0.5)]), theme))
    groups = [WeightGroup(group=f"{LONG} group {k}", rows=10, weight=dict.fromkeys(names, 0.1 * k)) for k in range(6)]
    figure = weights_by_group({"class": groups[:2], "domain": groups, "length": groups[:5]}, names, theme)
    assert_readable(figure)
    assert "By domain" in text_in(figure)

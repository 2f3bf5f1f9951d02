"""A run's page: self-contained and true for finished and unfinished runs, whatever they lack or contain."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reading import pictures, read, text_of

from raykd.display.durations import duration
from raykd.display.text import interval, number, share
from raykd.errors import ConfigError, RunError
from raykd.records.run_result import BaselineResult, Gap, GroupResult, RunResult, SplitUse
from raykd.report import page
from raykd.report.figures.run_pictures import run_pictures
from raykd.report.headline import headline, tiles
from raykd.report.run_files import Run, read_run
from raykd.report.sections import classes, efficiency, models, splits
from raykd.report.templating import page_source

EVIL = "</style><script>alert('x')</script>\"'&"


@pytest.fixture
def run(policy_run: Path) -> Run:
    return read_run(policy_run)


def changed(run: Run, **fields: Any) -> Run:
    """The run with another result."""
    assert run.result is not None
    return replace(run, result=run.result.model_copy(update=fields))


def test_a_finished_run(policy_run: Path, result: RunResult, tmp_path: Path) -> None:
    path = policy_run / "report.html"  # as the run itself wrote it
    source = path.read_text(encoding="utf-8")
    text, reader = read(source)
    assert "default-src 'none'" in source
    tests = [result.test, *(baseline.test for baseline in result.baselines.values())]
    for scores in (*tests, *(teacher.test for teacher in result.teachers)):
        assert number((scores or {})["accuracy"]) in text
    assert f"on 60 test rows ({number(result.value)} on validation, which chose it)" in text
    for part in (
        "Results on test",
        "Scores are of the test split (60 rows)",
        "as they were served",
        "baseline uniform",
    ):
        assert part in text
    drawn = pictures(policy_run)
    assert drawn == {
        "comparison", "metric", "loss", "confusion", "efficiency", "teacher_shares", "policy", "weights_by_group",
        "teachers_under_feedback", "quiz_loss", "cosines",
    }  # fmt: skip
    assert len(reader.sources) == 2 * len(drawn)  # each in light and in dark
    again = page.render(shutil.copytree(policy_run, tmp_path / "again"))
    assert again.read_text(encoding="utf-8") == source
    assert not list(again.parent.glob(".draft*"))


def test_the_numbers_of_the_classes_follow_from_the_confusion_matrix(run: Run) -> None:
    section = classes(changed(run, confusion=[[30, 10], [20, 40]], labels=["no", "yes"]))
    assert section is not None
    assert section.table is not None
    no, yes = (row.cells for row in section.table.rows)
    assert no == ["no", "40", f"{30 / 40:.3f}", f"{30 / 50:.3f}", f"{2 * 0.75 * 0.6 / 1.35:.3f}"]
    assert yes[:4] == ["yes", "60", f"{40 / 60:.3f}", f"{40 / 50:.3f}"]


def test_rows_of_the_confusion_matrix_are_true_classes(run: Run) -> None:
    counts = [[31, 9], [22, 18]]
    drawn = {picture.name: picture for picture in run_pictures(changed(run, confusion=counts, labels=["no", "yes"]))}
    picture = drawn["confusion"]
    assert picture.title == "Confusion matrix"
    assert "row is a true class" in picture.caption
    figure = picture.draw()
    (axes,) = figure.axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["no", "yes"]
    cells = {(int(x), int(y)): text.get_text() for text in axes.texts for x, y in [text.get_position()]}
    assert cells == {
        (column, row): f"{count}\n{100 * count / sum(of):.0f} %"
        for row, of in enumerate(counts)
        for column, count in enumerate(of)
    }


def test_many_classes_show_the_weakest(run: Run) -> None:
    counts = [[100 if k == column else 0 for column in range(50)] for k in range(50)]
    counts[17] = [100] + [0] * 49
    section = classes(changed(run, confusion=counts, labels=[f"intent-{k}" for k in range(50)]))
    assert section is not None
    assert section.table is not None
    assert len(section.table.rows) == 30
    assert section.table.rows[0].cells[:3] == ["intent-17", "100", "0.000"]


@pytest.mark.parametrize(
    ("student", "alone", "teacher", "words"),
    [
        (0.79, 0.80, 0.89, ("did not pay", "by 0.010")),
        (0.80, 0.80, 0.89, ("no difference", "0.800")),
        (0.90, 0.80, 0.89, ("whole gap", "0.890")),
        (0.85, 0.80, 0.78, ("no gap", "0.780")),
        (0.845, 0.80, 0.89, ("50 %", "0.890")),
    ],
)
def test_what_the_teachers_added(
    run: Run, student: float, alone: float, teacher: float, words: tuple[str, ...]
) -> None:
    gap = Gap(teacher=teacher, alone=alone, student=student, closed=None)
    told = changed(run, value=student, gap=gap)
    lead = headline(told).lead
    assert all(word in lead for word in words)
    assert number(student) in lead
    assert lead in text_of(told)


def test_a_run_without_baselines_has_an_unknown_gap(run: Run) -> None:
    gap = Gap(teacher=0.9, alone=None, student=0.8, closed=None)
    lean = changed(run, gap=gap, baselines={}, test=None, splits={}, confusion=None, teachers=[])
    assert "not known" in headline(lean).lead
    assert headline(lean).lead.split("`")[0] in text_of(replace(lean, config={}, config_text=""))


def test_a_difference_within_chance_is_called_so(run: Run) -> None:
    gap = Gap(teacher=0.9, alone=0.80, student=0.81, closed=0.1)
    within = changed(run, value=0.81, gap=gap)
    caution = headline(within).caution
    low, high = interval(0.81, 80)
    assert f"±{(high - low) / 2:.3f}" in caution
    assert "one seed does not settle it" in caution
    assert caution in text_of(within)


def test_each_model_is_compared_with_the_student_alone(run: Run, result: RunResult) -> None:
    section = models(run)
    assert section is not None
    assert section.table is not None
    rows = {row.cells[0]: row for row in section.table.rows}
    student, alone = ((model.test or {})["accuracy"] for model in (result, result.baselines["alone"]))
    assert alone is not None
    assert student is not None
    assert rows["student"].cells[1:4] == [number(student), f"{student - alone:+.3f}", number(result.value)]
    assert rows["student"].highlighted
    assert rows["baseline alone"].cells[2] == "-"
    assert rows["teacher bpe"].cells[1] == number((result.teachers[1].test or {})["accuracy"])
    assert "→" in rows["teacher wordpiece"].cells[3]  # trained by feedback: known on validation alone
    assert all(len(row.cells) == len(section.table.columns) for row in section.table.rows)


def test_without_a_test_score_of_every_model_validation_is_shown(run: Run, result: RunResult) -> None:
    section = models(changed(run, gap=result.gap.model_copy(update={"split": "validation", "alone": 0.5})))
    assert section is not None
    assert section.table is not None
    assert [column.title for column in section.table.columns[1:3]] == ["accuracy", "against alone"]
    assert section.table.rows[-1].cells[1] == number(result.value)
    assert section.notes[0].startswith("Test (60 rows): accuracy")


def test_how_much_of_its_speed_the_student_kept(run: Run, result: RunResult) -> None:
    section, measured = efficiency(run), result.efficiency
    assert section is not None
    [text] = section.paragraphs
    assert measured.targets_s is not None
    for part in (
        f"trained on {measured.samples_per_s:,.0f} samples/s",
        f"would train on {measured.student_only_samples_per_s:,.0f}:",
        f"{share(measured.ratio)} of its own speed",
        f"during {share(measured.wait_share)} of its training time",
        f"{share(measured.hit_rate)} of the rows were available",
        f"pass took {duration(measured.targets_s)}, the training {duration(measured.train_s)}",
    ):
        assert part in text
    assert section.title in text_of(run)
    tile = {tile.title: tile for tile in tiles(run)}["samples/s in training"]
    assert tile.value == f"{measured.samples_per_s:,.0f}"
    assert share(measured.ratio) in tile.note


def test_which_split_fed_which_signal(run: Run, result: RunResult) -> None:
    section = splits(run)
    assert section is not None
    assert section.table is not None
    assert [column.title for column in section.table.columns] == ["Subset", "from split", "rows", "used for"]
    used = result.splits
    assert [row.cells for row in section.table.rows] == [
        [name, used[name].split, f"{used[name].rows:,}", ", ".join(used[name].used_for)] for name in used
    ]
    assert used.keys() == {"train", "validation", "test", "quiz"}
    assert used["quiz"].split == used["train"].split == "train"
    assert used["quiz"].rows + used["train"].rows == 300  # what the fixture wrote
    assert "feedback" in " ".join(used["quiz"].used_for)
    notes = " ".join(section.notes)
    for arm, budget in result.budgets.items():
        assert f"{arm}: {budget.total:,} (" in notes
        for reader, rows in budget.read.items():
            assert f"{reader} {rows:,}" in notes
    assert result.budgets["student"].read["quiz"] == used["quiz"].rows
    assert section.title in text_of(run)


def test_a_regression(regression_run: Path) -> None:
    text, _ = read((regression_run / "report.html").read_text(encoding="utf-8"))
    assert "Pearson correlation" in text
    assert "chance alone" not in text
    assert pictures(regression_run) == {"comparison", "metric", "loss", "scatter", "efficiency"}


def test_predictions_that_cannot_be_read_are_a_warning(regression_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(regression_run, tmp_path / "damaged")
    (folder / "predictions.parquet").write_bytes(b"PAR1 and then nothing")
    text = text_of(read_run(folder))
    assert "predictions.parquet cannot be read" in text


def test_an_unfinished_run_shows_its_curves_so_far(unfinished_run: Path) -> None:
    text, _ = read(page.render(unfinished_run).read_text(encoding="utf-8"))
    planned = read_run(unfinished_run).state.student.steps
    assert "not finished" in text
    assert f"step 12 of {planned}" in text
    assert pictures(unfinished_run) >= {"metric", "loss", "teacher_shares", "teachers_under_feedback"}
    assert "Results by class" not in text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: just-begun\n")
    assert "Nothing has been logged yet" in text_of(read_run(tmp_path))
    (tmp_path / "metrics.jsonl").write_text('{"event": "phase", "phase": "soft targets", "time": 1.0}\n')
    assert "soft targets" in text_of(read_run(tmp_path))


def test_nothing_that_a_run_contains_becomes_markup(run: Run, result: RunResult) -> None:
    teacher = result.teachers[0].model_copy(update={"name": EVIL, "address": EVIL})
    evil = changed(
        run,
        name=EVIL,
        labels=[EVIL, "b"],
        versions={EVIL: EVIL},
        splits={**result.splits, EVIL: SplitUse(split=EVIL, rows=1, used_for=[EVIL])},
        teachers=[teacher, *result.teachers[1:]],
        baselines={EVIL: BaselineResult(value=0.5, scores={EVIL: 0.5}, seconds=1.0, samples_per_s=1.0)},
    )
    text = text_of(replace(evil, warnings=[EVIL], config_text=EVIL))
    assert text.count(EVIL) >= 12


def test_backticks_mark_code_and_escape_it(unfinished_run: Path) -> None:
    run = replace(read_run(unfinished_run), config={})
    source = page_source(page.run_page(run, []))
    assert "<code>raykd distill</code>" in source
    assert "`" not in source.split("</style>")[1].split("<details>")[0]


def test_overlap_and_warnings_are_shown(run: Run, result: RunResult) -> None:
    overlapping = changed(run, data=result.data.model_copy(update={"overlap": 12}))
    text = text_of(replace(overlapping, warnings=["teacher bpe is at the majority class"]))
    assert "Warnings teacher bpe is at the majority class" in text
    assert "12 validation rows exist in train as well" in text


def test_groups_are_told_with_what_stands_inside_all_the_same(run: Run, result: RunResult) -> None:
    groups = GroupResult(by="contained", groups=6882, inside={"validation": 0, "test": 3})
    text = text_of(changed(run, data=result.data.model_copy(update={"groups": groups})))
    assert "6,882 groups by texts that stand inside others, each on one side of every holdout" in text
    assert "stand inside a row that is learnt from: 0 of validation, 3 of test." in text


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, tiny_study: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder") as missing:
        page.render(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"is no run's folder") as foreign:
        page.render(tmp_path)
    with pytest.raises(ConfigError, match=r"holds a study and no run") as study:
        page.render(tiny_study)
    assert all("\n" not in str(error.value) and error.value.status == 2 for error in (missing, foreign, study))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("content", ["{", "[]", "\x00", '{"schema_version": 1}'])
def test_a_damaged_result_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(RunError, match=r"result\.json: is damaged") as error:
        page.render(tmp_path)
    assert "\n" not in str(error.value)


def test_a_result_of_another_schema_is_refused(tmp_path: Path, result: RunResult) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result.model_dump() | {"schema_version": 99}))
    with pytest.raises(RunError, match="another version"):
        page.render(tmp_path)

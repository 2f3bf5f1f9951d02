"""A study's page and table: finished, unfinished, with values of every kind, and escaped."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import pictures, read
from rich.console import Console

from raykd.display import study_text
from raykd.display.study_table import study_table
from raykd.display.text import interval, number, share
from raykd.errors import ConfigError
from raykd.records.events import StudyPlanEvent, TrialEndedEvent, TrialReportEvent, TrialStartedEvent
from raykd.records.log import MetricsLog
from raykd.records.predictions import read_predictions
from raykd.records.study_result import BestResult, ConfigurationResult, StudyResult, TrialCounts
from raykd.report import study_page
from raykd.report.figures.study_pictures import study_pictures
from raykd.report.run_files import read_run
from raykd.report.study_files import Study, read_study

KEYS = ["objective.temperature", "feedback.teacher_lr", "student.layers", "weighting"]


@pytest.fixture
def result(tiny_study: Path) -> StudyResult:
    whole = read_study(tiny_study).result
    assert whole is not None
    return whole


def test_the_best_run_and_its_teachers_are_scored_on_test_and_trials_are_not(
    tiny_study: Path, result: StudyResult
) -> None:
    """The test rows are those of validation here: so are the scores, the teachers' too, taken from other answers."""
    best = read_run(tiny_study / "best").result
    assert best is not None
    assert best.test == best.scores == result.best.test
    assert [teacher.test for teacher in best.teachers] == [teacher.scores for teacher in best.teachers]
    assert [teacher.test for teacher in result.teachers] == [teacher.scores for teacher in result.teachers]
    assert (best.reported_split, best.gap.student) == ("test", best.test["accuracy"])
    teacher = best.teachers[0].name
    answers = read_predictions(tiny_study / "best")
    assert set(answers) == {(arm, split) for arm in ("student", teacher) for split in ("validation", "test")}
    for arm in ("student", teacher):
        np.testing.assert_array_equal(answers[arm, "test"].predicted, answers[arm, "validation"].predicted)
    for name in ("t00", "t01"):
        trial = read_run(tiny_study / "trials" / name).result
        assert trial is not None
        assert (trial.test, trial.teachers[0].test, trial.reported_split) == (None, None, "validation")
        assert set(read_predictions(tiny_study / "trials" / name)) == {("student", "validation")}


def write_log(folder: Path, trials: int = 10) -> None:
    """A log of a study in which some trials fail, some are stopped and some lack a key."""
    log = MetricsLog(folder / "metrics.jsonl")
    log.write(StudyPlanEvent(metric="accuracy", trials=trials, concurrency=2, keys=KEYS))
    for k in range(trials):
        name = f"t{k:02d}"
        params: dict[str, Any] = {
            "objective.temperature": 1.0 + k, "student.layers": [0, k % 3], "weighting": "<b>policy</b>",
        }  # fmt: skip
        params |= {"feedback.teacher_lr": 10.0**-k} if k % 2 else {}
        log.write(TrialStartedEvent(trial=name, params=params))
        for step in range(1, 4 if k % 3 else 2):
            value, parameters = 0.7 + 0.01 * k + 0.01 * step, 1000 * (k % 3 + 1)
            log.write(
                TrialReportEvent(
                    trial=name, step=10 * step, epoch=step, value=value, asked=320 * step, parameters=parameters,
                    latency_ms=parameters / 1000,
                )
            )  # fmt: skip
        reason = "out of memory" if k == 4 else ""
        log.write(
            TrialEndedEvent(trial=name, state="failed" if reason else "done" if k % 3 else "stopped", reason=reason)
        )


def repeated(best: ConfigurationResult, trial: str, *values: float, deviation: float) -> ConfigurationResult:
    changes = {"trial": trial, "values": list(values), "mean": sum(values) / len(values), "deviation": deviation}
    return best.model_copy(update=changes)


def summary(study: Study) -> str:
    section = study_page.study_page(study, []).summary
    assert section is not None
    return " ".join(section.paragraphs)


def test_a_finished_study(tiny_study: Path, result: StudyResult) -> None:
    text, reader = read((tiny_study / "report.html").read_text(encoding="utf-8"))
    best = result.best
    assert f"{number(best.mean)} ± {number(best.deviation)} over 2 seeds" in text
    assert f"{result.sharing.rows_computed:,} rows" in text
    assert "t00" in text
    assert "t01" in text
    drawn = pictures(tiny_study)
    assert drawn >= {"history", "trial_curves", "parallel", "seeds"}
    assert len(reader.sources) == 2 * len(drawn)
    assert (tiny_study / "best" / "report.html").is_file()
    card = (tiny_study / "best" / "student" / "README.md").read_text(encoding="utf-8")
    assert "embedded corpus" in card
    assert "type: generated" in card


def test_an_unfinished_study_has_a_page(tmp_path: Path) -> None:
    write_log(tmp_path)
    page = study_page.render(tmp_path).read_text(encoding="utf-8")
    text, _ = read(page)
    for part in ("not finished", "--resume", "out of memory", "t08 with 0.810"):
        assert part in text
    assert "<b>policy</b>" not in page
    assert pictures(tmp_path) == {"history", "trial_curves", "parallel"}


def test_what_the_teachers_computed_and_the_students_used(tiny_study: Path, result: StudyResult) -> None:
    sharing = result.sharing
    study = read_study(tiny_study)
    assert sharing.rows_used > sharing.rows_computed  # so that no number stands for the other
    tile = {tile.title: tile for tile in study_page.study_page(study, []).tiles}["teacher rows computed"]
    assert tile.value == f"{sharing.rows_computed:,}"
    assert tile.note == f"{sharing.rows_used:,} used by {sharing.trials} trials"
    text = summary(study)
    for part in (
        f"computed {sharing.rows_computed:,} rows",
        f"once for {sharing.trials} trials",
        f"used {sharing.rows_used:,}.",
        f"would have computed {sharing.rows_apart:,}",
    ):
        assert part in text
    assert "earlier runs" not in text
    reused = sharing.model_copy(update={"rows_computed": 200, "rows_wanted": 320})
    text = summary(replace(study, result=result.model_copy(update={"sharing": reused})))
    assert "computed 200 rows" in text
    assert "The other 120 rows" in text


def test_the_page_says_how_sure_the_best_is_and_which_keys_mattered(tiny_study: Path, result: StudyResult) -> None:
    best = repeated(result.best, "t08", 0.81, 0.83, deviation=0.014)
    importance = {"objective.temperature": 0.6, "student.layers": 0.25, "train.lr": 0.15}
    changes = {
        "best": BestResult.model_validate(result.best.model_dump() | best.model_dump()),
        "value": best.mean,
        "repeated": [best, repeated(best, "t07", 0.815, 0.819, deviation=0.003)],
        "importance": importance,
    }
    study = replace(read_study(tiny_study), result=result.model_copy(update=changes))
    headline = study_page.study_page(study, []).headline
    assert f"{number(best.mean)} ± {number(best.deviation)} over 2 seeds" in headline.lead
    for part in ("0.003 ahead", "(t07)", "deviation of 0.014", "not settled"):
        assert part in headline.caution
    low, high = interval(best.mean, result.validation_rows)
    assert f"On {result.validation_rows} validation rows" in headline.caution
    assert f"±{number((high - low) / 2)}" in headline.caution
    text = summary(study)
    assert f"objective.temperature mattered most ({share(0.6)}" in text
    for key in ("student.layers", "train.lr"):
        assert f"{key} ({share(importance[key])})" in text


def test_every_picture_of_a_study(tmp_path: Path, result: StudyResult) -> None:
    write_log(tmp_path)
    study = read_study(tmp_path)
    best = repeated(result.best, "t08", 0.81, 0.83, deviation=0.014)
    changes = {
        "best": result.best.model_copy(update=best.model_dump(include={"trial", "values", "mean", "deviation"})),
        "repeated": [best, repeated(best, "t07", 0.815, 0.819, deviation=0.003)],
        "importance": {"objective.temperature": 0.7, "student.layers": 0.3},
        "front": {"parameters": ["t07", "t08"], "latency_ms": ["t07"]},
    }
    whole = Study(tmp_path, study.state, result.model_copy(update=changes))
    drawn = study_pictures(whole)
    assert [picture.name for picture in drawn] == [
        "history", "trial_curves", "parallel", "importance", "costs", "seeds",
    ]  # fmt: skip
    assert all(picture.png() for picture in drawn)
    assert whole.keys[:2] == ["objective.temperature", "student.layers"]


def test_whether_the_order_of_the_best_is_settled(result: StudyResult) -> None:
    close = [
        repeated(result.best, "t08", 0.81, 0.83, deviation=0.014),
        repeated(result.best, "t07", 0.815, 0.819, deviation=0.003),
    ]
    apart = [close[0], repeated(result.best, "t07", 0.70, 0.71, deviation=0.007)]
    assert "0.003 ahead of the next best (t07)" in study_text.certainty_text(
        result.model_copy(update={"repeated": close})
    )
    assert "not settled" in study_text.certainty_text(result.model_copy(update={"repeated": close}))
    assert "the seeds agree" in study_text.certainty_text(result.model_copy(update={"repeated": apart}))


def test_one_seed_is_called_one_seed(result: StudyResult) -> None:
    best = BestResult.model_validate(
        result.best.model_dump() | {"values": [0.8], "mean": 0.8, "deviation": None, "test": {"accuracy": 0.79}}
    )
    single = result.model_copy(update={"best": best, "repeated": []})
    text = study_text.best_text(single)
    assert "one seed" in text
    assert "±" not in text
    assert "0.790" in text
    assert study_table(single).row_count == 1


def test_how_the_trials_ended_and_what_mattered(result: StudyResult) -> None:
    trials = TrialCounts(done=6, stopped=3, failed=1)
    importance = {"objective.temperature": 0.7, "student.layers": 0.3}
    changed = result.model_copy(update={"trials": trials, "importance": importance, "scheduler": "asha"})
    text = study_text.trials_text(changed)
    assert "6 trials finished, 3 were stopped early (asha), 1 failed" in text
    assert "objective.temperature mattered most (70 %" in study_text.importance_text(changed)
    assert "too few" in study_text.importance_text(result.model_copy(update={"importance": {}}))


def test_the_table_has_a_row_for_each_repeated_configuration(result: StudyResult) -> None:
    file = io.StringIO()
    Console(file=file, width=120).print(study_table(result))
    text = file.getvalue()
    assert f"{number(result.best.mean)} ± {number(result.best.deviation)}" in text
    assert study_table(result).row_count == len(result.repeated)


def test_another_folder_is_refused(tmp_path: Path, policy_run: Path) -> None:
    for folder in (tmp_path, policy_run):
        with pytest.raises(ConfigError, match="is no study's folder"):
            study_page.render(folder)


def test_a_copy_of_a_study_has_the_same_page(tiny_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("metrics.jsonl", "result.json", "config.yaml"):
        shutil.copy(tiny_study / name, copy / name)
    page = study_page.render(copy)
    assert page.read_bytes() == (tiny_study / "report.html").read_bytes()

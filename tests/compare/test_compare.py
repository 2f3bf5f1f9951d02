"""Runs compared through the command line, and what cannot be compared: one line and status 2."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from tiny import tiny_config

from raykd import api, cli
from raykd import config as configuration
from raykd.compare.arms import arms_of_runs
from raykd.compare.runs import read_runs

Run = Callable[..., tuple[int, str, str]]
PREDICTIONS = "predictions.parquet"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `raykd compare` with the given words; its status, stdout and stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raykd", "compare", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def runs(ray_local: None, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two draws of one configuration and one of another, on files with a test split."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 120), ("validation", 60), ("test", 90)):
        labels = rng.permutation(np.arange(rows) % 2)
        texts = [
            " ".join(f"{'ab'[label if mine else 1 - label]}{rng.integers(6)}" for mine in rng.random(5) < 0.7)
            for label in labels
        ]
        pd.DataFrame({"text": texts, "label": labels}).to_csv(folder / f"{split}.csv", index=False)
    data = {"source": str(folder), "test": "test", "max_length": 16}
    settings = {"soft-0": ["seed=0"], "soft-1": ["seed=1", "data.seed=4"], "hard": ["objective.alpha=0.1"]}
    for name, overrides in settings.items():
        raw = tiny_config({"name": name, "data": data, "baselines": ["alone"] * (name == "soft-0")}, shared_cache)
        api.distill(configuration.parse(raw, ["train.epochs=1", "train.lr=1e-2", *overrides]), folder / name)
    return {name: folder / name for name in settings}


def right(folder: Path, arm: str = "student", split: str = "test") -> np.ndarray:
    """Which rows an arm has right, straight from the file."""
    frame = pd.read_parquet(folder / PREDICTIONS)
    frame = frame[(frame["arm"] == arm) & (frame["split"] == split)].sort_values("id")
    return (frame["label"] == frame["prediction"]).to_numpy()


def copy(folder: Path, target: Path, change: Callable[[Path], object]) -> Path:
    """A run's folder with something changed in it."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("checkpoints", "start", "baselines", "teachers"))
    change(target)
    return target


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Changes a YAML or JSON file of a folder."""

    def apply(folder: Path) -> None:
        path = folder / name
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return apply


def heated(content: dict[str, Any], temperature: float) -> None:
    """Another configuration: one of a different temperature."""
    content["objective"]["temperature"] = temperature


def frame_edited(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    return lambda folder: change(pd.read_parquet(folder / PREDICTIONS)).to_parquet(folder / PREDICTIONS, index=False)


def test_students_of_two_configurations(run: Run, runs: dict[str, Path], tmp_path: Path) -> None:
    status, out, err = run(*runs.values(), "--json", "--output", tmp_path / "out")
    assert status == 0, err
    result = json.loads(out.splitlines()[-1])
    assert (result["metric"], result["split"], result["rows"], result["reference"]) == ("accuracy", "test", 90, "soft")
    soft, hard = result["arms"]
    accuracies = [right(runs[name]).mean() for name in ("soft-0", "soft-1")]
    assert [draw["value"] for draw in soft["draws"]] == pytest.approx(accuracies)
    assert [(draw["seed"], draw["data_seed"]) for draw in soft["draws"]] == [(0, 0), (1, 4)]
    assert soft["mean"] == pytest.approx(np.mean(accuracies))
    assert soft["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (soft["settings"], hard["settings"]) == ({"objective.alpha": 0.5}, {"objective.alpha": 0.1})
    (difference,) = result["differences"]
    assert difference["value"] == pytest.approx(right(runs["hard"]).mean() - np.mean(accuracies))
    assert difference["interval"] == difference["simultaneous"]  # of a single difference
    assert difference["paired"] is False
    assert difference["mcnemar"] is None
    low, high = difference["simultaneous"]
    assert low <= difference["value"] <= high
    assert difference["verdict"] == ("higher" if low > 0 else "lower" if high < 0 else "not settled")
    assert json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8")) == result
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "Comparison with soft" in page
    assert (tmp_path / "out" / "figures" / "differences.png").exists()


def test_the_arms_of_one_run(run: Run, runs: dict[str, Path]) -> None:
    status, out, _ = run(runs["soft-0"], "--json")
    assert status == 0
    result = json.loads(out.splitlines()[-1])
    assert [arm["name"] for arm in result["arms"]] == ["student", "baseline alone", "teacher teacher0"]
    assert [arm["rows_computed"] for arm in result["arms"][:2]] == [120 + 60 + 90, None]
    student = right(runs["soft-0"])
    for arm, difference in zip(("alone", "teacher0"), result["differences"], strict=True):
        other = right(runs["soft-0"], arm)
        wins, losses = int((other & ~student).sum()), int((student & ~other).sum())
        exact = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert difference["mcnemar"] == pytest.approx(exact)
        assert difference["paired"] is True
        assert difference["simultaneous"][0] <= difference["interval"][0]
        assert difference["simultaneous"][1] >= difference["interval"][1]
    unadjusted = sorted(difference["p"] for difference in result["differences"])
    assert min(difference["p_holm"] for difference in result["differences"]) == min(1.0, 2 * unadjusted[0])


def test_the_reference_by_name_and_by_folder_and_the_table(run: Run, runs: dict[str, Path]) -> None:
    status, out, err = run(*runs.values(), "--reference", "hard")
    assert status == 0, err
    assert "Compared with hard by accuracy on 90 test rows" in " ".join(out.split())
    assert json.loads(run(*runs.values(), "--json", "--reference", runs["hard"])[1])["reference"] == "hard"
    status, _, err = run(*runs.values(), "--reference", "soggy")
    assert status == 2
    assert "there are soft, hard" in " ".join(err.split())


def test_every_arm_of_two_configurations(run: Run, runs: dict[str, Path]) -> None:
    names = [arm["name"] for arm in json.loads(run(*runs.values(), "--arms", "--json")[1])["arms"]]
    assert names == ["soft", "soft, baseline alone", "soft, teacher teacher0", "hard", "hard, teacher teacher0"]


def test_draws_of_equal_seeds_are_paired(runs: dict[str, Path], tmp_path: Path) -> None:
    """Of the same predictions nothing differs, whatever rows and draws are taken."""

    hot = edited("config.yaml", partial(heated, temperature=9.0))
    copies = [copy(runs[name], tmp_path / f"hot-{name[-1]}", hot) for name in ("soft-0", "soft-1")]
    for path in copies:
        edited("result.json", lambda content: content.update(name="hot"))(path)
    result = api.compare([runs["soft-0"], runs["soft-1"], *copies])
    (difference,) = result.differences
    assert difference.paired
    assert (difference.interval, difference.value, difference.p) == ((0.0, 0.0), 0.0, 1.0)
    assert difference.verdict == "not settled"
    unpaired = api.compare([runs["soft-0"], copies[1]]).differences[0]
    assert not unpaired.paired


def test_draws_may_differ_in_a_key_that_is_named(run: Run, runs: dict[str, Path], tmp_path: Path) -> None:
    hot = copy(runs["soft-1"], tmp_path / "soft-1", edited("config.yaml", partial(heated, temperature=9.0)))
    assert [len(arm.draws) for arm in api.compare([runs["soft-0"], hot]).arms] == [1, 1]
    drawn = api.compare([runs["soft-0"], hot], every_arm=True, drawn=["objective.temperature"])
    assert next((arm.name, len(arm.draws)) for arm in drawn.arms) == ("student", 2)
    words = ("--drawn", "objective.temprature")
    assert "has no key objective.temprature" in run(runs["soft-0"], hot, *words)[2]


@pytest.mark.parametrize(("compared", "verdict"), [(1, "higher"), (5, "not settled")])
def test_a_difference_that_its_own_interval_settles_is_not_claimed_among_many(
    runs: dict[str, Path], tmp_path: Path, compared: int, verdict: str
) -> None:
    """11 rows won and 3 lost of 90: z = 2.2, above 1.96 for one difference and below 2.58 for each of five."""

    def answered(right_rows: np.ndarray) -> Callable[[pd.DataFrame], pd.DataFrame]:
        def change(frame: pd.DataFrame) -> pd.DataFrame:
            rows = frame[(frame["arm"] == "student") & (frame["split"] == "test")].sort_values("id")
            return rows.assign(prediction=np.where(right_rows, rows["label"], 1 - rows["label"]))

        return change

    arm, reference = np.ones(90, bool), np.ones(90, bool)
    arm[:3], reference[3:14] = False, False
    base = copy(runs["hard"], tmp_path / "base", frame_edited(answered(reference)))
    others = []
    for k in range(compared):
        others.append(copy(runs["hard"], tmp_path / f"other{k}", frame_edited(answered(arm))))
        edited("config.yaml", partial(heated, temperature=3.0 + k))(others[-1])
    differences = api.compare([base, *others]).differences
    assert [difference.verdict for difference in differences] == [verdict] * compared
    assert all(difference.interval[0] > 0 for difference in differences)
    exact = stats.binomtest(3, 14).pvalue
    assert [difference.mcnemar_holm for difference in differences] == pytest.approx(
        [min(1.0, compared * exact)] * compared
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (frame_edited(lambda frame: frame.assign(label=1 - frame["label"])), "its test labels differ"),
        (frame_edited(lambda frame: frame.iloc[1:][frame["id"].iloc[1:] != 3]), "its test rows differ"),
        (edited("result.json", lambda r: r["splits"]["test"].update(fingerprint="another")), "its test rows differ"),
        (edited("result.json", lambda r: r.update(metric="f1")), "has the metric f1"),
        (edited("result.json", lambda r: r.update(labels=["x", "y"])), "has the classes"),
        (lambda folder: (folder / "result.json").unlink(), "holds no finished run"),
        (lambda folder: (folder / PREDICTIONS).unlink(), "has no predictions.parquet"),
        (lambda folder: (folder / PREDICTIONS).write_bytes(b"PAR1 and no more"), "cannot be read"),
        (edited("config.yaml", lambda c: (c.update(seed=0), c["data"].update(seed=0))), "is the same draw as"),
        (edited("config.yaml", lambda c: c["train"].update(epochz=3)), "did you mean epochs?"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_status_2(
    run: Run, runs: dict[str, Path], tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    other = copy(runs["soft-1"], tmp_path / "changed", change)
    status, out, err = run(runs["soft-0"], other, runs["hard"])
    lines = [line for line in err.splitlines() if line.startswith("raykd: ")]
    assert (status, len(lines)) == (2, 1), err
    assert says in lines[0]
    assert "Traceback" not in out + err


def test_fewer_than_two_arms_and_a_folder_twice(run: Run, runs: dict[str, Path], tmp_path: Path) -> None:
    assert "nothing to compare" in run(runs["soft-0"], runs["soft-1"], "--no-arms")[2]
    assert "is given twice" in run(runs["soft-0"], runs["soft-0"])[2]
    assert "no such folder" in run(tmp_path / "none", runs["soft-0"])[2]


def test_runs_without_a_test_split_are_compared_on_validation(runs: dict[str, Path], tmp_path: Path) -> None:
    """Also a file of an earlier version, which has the student on validation alone."""
    columns = ["id", "label", "prediction"]

    def aged(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["arm"] == "student") & (frame["split"] == "validation")][columns]

    old = copy(runs["hard"], tmp_path / "old", frame_edited(aged))
    result = api.compare([runs["soft-0"], old])
    assert (result.split, result.rows) == ("validation", 60)
    assert "chose the checkpoints" in result.warnings[0]
    expected = right(runs["hard"], split="validation").mean() - right(runs["soft-0"], split="validation").mean()
    assert result.differences[0].value == pytest.approx(expected)


def test_arms_are_named_by_what_their_runs_have_in_common(runs: dict[str, Path], tmp_path: Path) -> None:
    def renamed(name: str) -> Callable[[Path], object]:
        return edited("result.json", lambda content: content.update(name=name))

    def names(*folders: Path) -> list[str]:
        return [arm.name for arm in arms_of_runs(read_runs(folders), every_arm=False)]

    assert names(*runs.values()) == ["soft", "hard"]
    same = {
        place: copy(runs[name], tmp_path / place, renamed("reviews"))
        for place, name in {"kd/seed0": "soft-0", "kd/seed1": "soft-1", "plain/seed0": "hard"}.items()
    }
    assert names(*same.values()) == ["kd", "plain/seed0"]
    seeds = [copy(runs[name], tmp_path / name, renamed(f"kd-seed{k}")) for k, name in enumerate(("soft-0", "soft-1"))]
    assert names(*seeds, runs["hard"]) == ["kd", "hard"]
